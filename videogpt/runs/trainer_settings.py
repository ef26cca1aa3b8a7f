"""Settings that Lightning's Trainer takes and no run can have: refused in one line before anything is read or written.

    check_settings(config["trainer"])              # of a fit: before the trainer is made
    check_trainer(trainer)                         # and after

What Lightning refuses by itself is not repeated here.
"""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import AsyncCheckpointIO

_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
}
_NO_FIT = "nothing would be trained"
_FORKS = ("spawn", "fork", "notebook")


def check_settings(settings: Mapping[str, Any], *, overfits: bool) -> None:
    """ValueError for a value that would end in a traceback, train nothing or undo itself.

    `overfits` says whether the data can give the same batches again and again, which `overfit_batches` asks for.
    """
    for key, least in _LEAST.items():
        value = settings.get(key)
        if value is not None and value < least:
            raise ValueError(f"trainer.{key} is {value}; it must be {least} or more")
    if settings.get("val_check_interval") in (0, 0.0):
        raise ValueError("trainer.val_check_interval is 0; it must be above 0, such as 200 steps")
    if settings.get("limit_train_batches") in (0, 0.0):
        raise ValueError(f"trainer.limit_train_batches is 0, so {_NO_FIT}: leave it out, or run validate")
    if settings.get("overfit_batches") and not overfits:
        raise ValueError(
            f"trainer.overfit_batches is {settings['overfit_batches']}, but the data go on to other batches all the "
            "time: leave it out, and train on a folder that holds those few clips alone"
        )
    if settings.get("barebones"):
        raise ValueError(
            "trainer.barebones is true, so no checkpoint would be kept: see trainer.fast_dev_run for a try"
        )
    strategy = settings.get("strategy")
    if isinstance(strategy, str) and any(way in strategy for way in _FORKS):
        raise ValueError(
            f"trainer.strategy is {strategy}, which trains in processes that end with the model: choose ddp"
        )


def check_trainer(trainer: Trainer) -> None:
    """ValueError for a plugin that a run cannot have."""
    if isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
        raise ValueError("trainer.plugins has AsyncCheckpointIO, and a checkpoint must be whole in time: leave it out")
