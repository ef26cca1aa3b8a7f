"""Pixels <-> tokens and text <-> tokens, usable without the language model.

    from videogpt_tokenizer import Clip, VideoTokenizer
    tokenizer = VideoTokenizer.from_pretrained("natural")  # or a folder
    codes_BTHW = tokenizer.encode(Clip.read("clip.mp4", size=64).video_CTHW()[None])

Public names are imported at first use: the video tokenizer needs only torch, einops and safetensors; PyAV,
sentencepiece, lightning and vector-quantize-pytorch are asked for by the parts that use them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videogpt_tokenizer.any_size import ClipCodes
    from videogpt_tokenizer.any_tokenizer import load_video_tokenizer
    from videogpt_tokenizer.clips.clip import Clip
    from videogpt_tokenizer.clips.folder import ClipFolder
    from videogpt_tokenizer.data.batches import ClipDataModule
    from videogpt_tokenizer.data.mixture import ClipMixture
    from videogpt_tokenizer.text_tokenizer import TextTokenizer
    from videogpt_tokenizer.training.reconstruction import TokenizerTraining
    from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

__all__ = [
    "Clip",
    "ClipCodes",
    "ClipDataModule",
    "ClipFolder",
    "ClipMixture",
    "TextTokenizer",
    "TokenizerConfig",
    "TokenizerTraining",
    "VideoTokenizer",
    "load_video_tokenizer",
]

_HOME = {
    "Clip": "clips.clip",
    "ClipCodes": "any_size",
    "ClipDataModule": "data.batches",
    "ClipFolder": "clips.folder",
    "ClipMixture": "data.mixture",
    "TextTokenizer": "text_tokenizer",
    "TokenizerConfig": "video_tokenizer",
    "TokenizerTraining": "training.reconstruction",
    "VideoTokenizer": "video_tokenizer",
    "load_video_tokenizer": "any_tokenizer",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
