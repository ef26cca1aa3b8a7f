"""Frames become tokens, text becomes tokens, one decoder predicts the next token, tokens become frames again.

    from videogpt import Pipeline
    clip, = Pipeline.from_pretrained("shapes")("a red circle moves left", seed=0)
    clip.write("circle.mp4")

Public names are imported at first use, so that `import videogpt` and `videogpt --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videogpt.cache import KVCache
    from videogpt.layout import Layout, LayoutConfig
    from videogpt.model import VideoGPT, VideoGPTConfig
    from videogpt.pipeline import Pipeline
    from videogpt.sampling import SamplingConfig

__all__ = ["KVCache", "Layout", "LayoutConfig", "Pipeline", "SamplingConfig", "VideoGPT", "VideoGPTConfig"]

_HOME = {
    "KVCache": "cache",
    "Layout": "layout",
    "LayoutConfig": "layout",
    "Pipeline": "pipeline",
    "SamplingConfig": "sampling",
    "VideoGPT": "model",
    "VideoGPTConfig": "model",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
