"""Frames become tokens, text becomes tokens, one decoder predicts the next token, tokens become frames again.

    from videogpt import Pipeline
    clip, = Pipeline.from_pretrained("shapes")("a red circle moves left", seed=0)
    clip.write("circle.mp4")

Public names are imported at first use, so that `import videogpt` and `videogpt --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videogpt.layouts.text_to_video import Layout, LayoutConfig
    from videogpt.model.cache import KVCache
    from videogpt.model.network import VideoGPT, VideoGPTConfig
    from videogpt.pipeline.pipeline import Pipeline
    from videogpt.runs.checkpoint import RunCheckpoint
    from videogpt.sampling import SamplingConfig
    from videogpt.tokens.batches import TokenData
    from videogpt.training.next_token import VideoGPTTraining

__all__ = [
    "KVCache",
    "Layout",
    "LayoutConfig",
    "Pipeline",
    "RunCheckpoint",
    "SamplingConfig",
    "TokenData",
    "VideoGPT",
    "VideoGPTConfig",
    "VideoGPTTraining",
]

_HOME = {
    "KVCache": "model.cache",
    "Layout": "layouts.text_to_video",
    "LayoutConfig": "layouts.text_to_video",
    "Pipeline": "pipeline.pipeline",
    "RunCheckpoint": "runs.checkpoint",
    "SamplingConfig": "sampling",
    "TokenData": "tokens.batches",
    "VideoGPT": "model.network",
    "VideoGPTConfig": "model.network",
    "VideoGPTTraining": "training.next_token",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
