"""Shows the progress of training, validation and test, with their metrics, on standard error.

    Trainer(callbacks=[RunProgress()])

A terminal shows a bar, anything else gets plain lines: see `videogpt.console.progress`.
"""

import math
import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from videogpt.console.progress import Progress


class RunProgress(ProgressBar):
    """Progress of the whole fit in optimizer steps, of validation and test in batches."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        text = " ".join(str(part) for part in args)
        if self._progress is not None:
            self._progress.say(text)
        elif self._enabled:
            print(text, file=sys.stderr)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("fit", trainer.estimated_stepping_batches, "steps", start=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self._progress is not None:
            self._update(trainer, metrics=self._progress.due)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._update(trainer, metrics=True)  # those shown are from before the last validation
        self._end()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._progress is not None:
            metrics = trainer.callback_metrics
            values = ", ".join(f"{name} {float(metrics[name]):.4g}" for name in metrics if "val" in name)
            self._progress.say(f"validation after step {trainer.global_step}: {values or 'nothing logged'}")
        elif trainer.state.fn == "validate":
            self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._begin("validate", sum(trainer.num_val_batches), "batches")

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.state.fn == "validate":
            self._advance()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin("test", sum(trainer.num_test_batches), "batches")

    def on_test_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self._advance()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end()

    def _begin(self, label: str, total: float, unit: str, start: int = 0) -> None:
        if self._enabled:
            self._progress = Progress(label, None if math.isinf(total) else int(total), unit=unit, start=start)

    def _update(self, trainer: Trainer, *, metrics: bool) -> None:
        if self._progress is not None:
            values = trainer.progress_bar_metrics if metrics else {}  # asking for them waits for the device
            self._progress.update(trainer.global_step, **{name: float(values[name]) for name in values})

    def _advance(self) -> None:
        if self._progress is not None:
            self._progress.advance()

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.close()
            self._progress = None
