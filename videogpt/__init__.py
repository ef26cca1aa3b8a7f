"""Frames become tokens, text becomes tokens, one decoder predicts the next token, tokens become frames again.

    from videogpt import Pipeline
    clip, = Pipeline.from_pretrained("shapes")("a red circle moves left", seed=0)
    clip.write("circle.mp4")

Public names are imported at first use, so that `import videogpt` and `videogpt --help` are quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videogpt.layouts.config import LayoutConfig
    from videogpt.layouts.task import Task, find_task
    from videogpt.model.cache import KVCache
    from videogpt.model.config import VideoGPTConfig
    from videogpt.model.network import VideoGPT
    from videogpt.pipeline.pipeline import Pipeline
    from videogpt.pipeline.request import Request
    from videogpt.runs.checkpoint import RunCheckpoint
    from videogpt.sampling.config import SamplingConfig
    from videogpt.tokens.batches import TokenData
    from videogpt.training.next_token import VideoGPTTraining

__all__ = [
    "KVCache",
    "LayoutConfig",
    "Pipeline",
    "Request",
    "RunCheckpoint",
    "SamplingConfig",
    "Task",
    "TokenData",
    "VideoGPT",
    "VideoGPTConfig",
    "VideoGPTTraining",
    "find_task",
]

_HOME = {
    "KVCache": "model.cache",
    "LayoutConfig": "layouts.config",
    "Pipeline": "pipeline.pipeline",
    "Request": "pipeline.request",
    "RunCheckpoint": "runs.checkpoint",
    "SamplingConfig": "sampling.config",
    "Task": "layouts.task",
    "TokenData": "tokens.batches",
    "VideoGPT": "model.network",
    "VideoGPTConfig": "model.config",
    "VideoGPTTraining": "training.next_token",
    "find_task": "layouts.task",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module at first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
