"""How many steps and batches a fit has, by the settings of its trainer.

plan = schedule_of(trainer, batches_per_epoch=(900, 48), done=0)
plan.steps, plan.validations, plan.batches_per_validation
"""

import math
from dataclasses import dataclass

from lightning.pytorch import Trainer


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Of one process."""

    steps: float
    """Of the optimiser, from now to the end; infinite where there is none."""
    total_steps: float
    """From the first to the end."""
    batches_per_step: int
    """Batches whose gradients a step adds up."""
    validations: float
    """From now to the end."""
    batches_per_validation: int


def schedule_of(trainer: Trainer, *, batches_per_epoch: tuple[int, int], done: int) -> Schedule:
    """For a run that has done so many steps; `batches_per_epoch` are those of training and of validation."""
    training = _limited(batches_per_epoch[0], trainer.limit_train_batches)
    validation = _limited(batches_per_epoch[1], trainer.limit_val_batches)
    per_step = trainer.accumulate_grad_batches
    epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
    total = math.ceil(training / per_step) * epochs
    if trainer.max_steps != -1:
        total = min(total, trainer.max_steps)
    steps = max(0, total - done)
    between = _batches_between(trainer, training)
    validations = 0.0
    if validation and math.isfinite(total):
        validations = max(0, total * per_step // between - done * per_step // between)
    return Schedule(
        steps=steps,
        total_steps=total,
        batches_per_step=per_step,
        validations=validations,
        batches_per_validation=validation,
    )


def _batches_between(trainer: Trainer, training: int) -> int:
    """Batches from one validation to the next."""
    interval, epochs = trainer.val_check_interval, trainer.check_val_every_n_epoch
    if not isinstance(interval, (int, float)):  # a time, which nobody knows in batches
        return training
    batches = max(1, int(training * interval)) if isinstance(interval, float) else interval
    return batches if isinstance(interval, int) or interval < 1 else batches * (epochs or 1)


def _limited(batches: int, limit: float | int | None) -> int:
    if limit is None:
        return batches
    return int(batches * limit) if isinstance(limit, float) else min(batches, limit)
