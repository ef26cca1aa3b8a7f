"""Ends a run when its loss is infinite or NaN, with the last good checkpoint kept.

    Trainer(callbacks=[FiniteLoss()])

One step with such a loss makes every weight NaN, and all later steps are wasted. A training step may return the terms
of the loss beside it, `{"loss": loss, "terms": {"l1": l1, ...}}`; the message then names those that are not finite.
"""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, stack

from videogpt.runs.folder import find_last

_TOGETHER = 25  # where asking for a loss waits for the device


class NotFiniteError(ValueError):
    """Loss or weights are infinite or NaN."""


class FiniteLoss(Callback):
    """Checks every loss, and the weights before a validation and at the end.

    Raises NotFiniteError with the step, in all processes together.
    """

    def __init__(self, together: int | None = None) -> None:
        """`together` is how many losses are checked at once; 1 on a CPU and 25 elsewhere unless given."""
        self._together = together
        self._recent: list[tuple[int, Tensor, dict[str, Tensor]]] = []  # step, its loss, the terms of that

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        if not outputs:
            return
        loss, terms = (outputs["loss"], outputs.get("terms", {})) if isinstance(outputs, dict) else (outputs, {})
        self._recent.append((trainer.global_step, loss.detach(), terms))
        if len(self._recent) >= (self._together or (1 if loss.device.type == "cpu" else _TOGETHER)):
            self._check_losses(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._check_losses(trainer)
            check_weights(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_losses(trainer)
        check_weights(trainer, pl_module)

    def _check_losses(self, trainer: Trainer) -> None:
        if not self._recent:
            return
        finite = stack([loss for _, loss, _ in self._recent]).isfinite().tolist()
        bad = [step for step, fine in zip(self._recent, finite, strict=True) if not fine]
        self._recent = []
        if trainer.strategy.reduce_boolean_decision(bool(bad), all=False):
            raise _not_finite(trainer, _what_is_bad(*bad[0]) if bad else "the loss is not finite")


def _what_is_bad(step: int, loss: Tensor, terms: dict[str, Tensor]) -> str:
    bad = [f"{name} is {float(term)}" for name, term in terms.items() if not term.isfinite()]
    return f"the loss of step {step} is {float(loss)}" + (f" ({', '.join(bad)})" if bad else "")


def weights_are_finite(model: LightningModule) -> bool:
    """Whether no weight is infinite or NaN."""
    return all(bool(weight.isfinite().all()) for weight in model.parameters())


def check_weights(trainer: Trainer, model: LightningModule) -> None:
    """Raise NotFiniteError if a weight is infinite or NaN."""
    if not weights_are_finite(model):
        raise _not_finite(trainer, f"weights are infinite or NaN after step {trainer.global_step}")


def _not_finite(trainer: Trainer, what: str) -> NotFiniteError:
    last = find_last(Path(trainer.default_root_dir))
    kept = f"{last} is from before, the same command goes on from it" if last else "no checkpoint was written before"
    remedy = "lower the learning rate, or clip gradients with --trainer.gradient_clip_val 1"
    return NotFiniteError(f"{what}: {remedy}; {kept}")
