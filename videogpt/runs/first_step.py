"""Writes nothing into a run's folder before the first step has succeeded: a start that fails leaves nothing behind.

    Trainer(logger=RunLogger("runs/tiny"), callbacks=[BeginRun(parser, config)])

The first step finds wrong sizes, data that do not fit the model and the like. Until then the folder does not exist, or
stays as it was.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger

from videogpt.runs.folder import CONFIG
from videogpt_tokenizer.files.replacing import replacement_of


class RunLogger(TensorBoardLogger):
    """Writes TensorBoard's files into the run folder from `begin` on, with the metrics that were logged earlier."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self._begun = False
        self._early: list[tuple[Mapping[str, float], int | None]] = []

    @property
    def experiment(self) -> Any:
        """TensorBoard's writer, or one that does nothing."""
        return super().experiment if self._begun else DummyLogger().experiment

    def begin(self) -> None:
        """Write the metrics logged so far, and from now on each at once."""
        self._begun = True
        self.save()
        for metrics, step in self._early:
            self.log_metrics(metrics, step)
        self._early = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self._begun:
            super().log_metrics(metrics, step)
        else:
            self._early.append((dict(metrics), step))

    @rank_zero_only
    def save(self) -> None:
        if self._begun:
            super().save()


class BeginRun(Callback):
    """After the first step, writes the configuration to `config.yaml` of the run folder and lets the logger begin.

    It must be the first callback, so that the others can log. An earlier `config.yaml` is replaced.
    """

    def __init__(self, parser: LightningArgumentParser, config: Any) -> None:
        self._parser, self._config = parser, config
        self._begun = False

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._begin(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:  # a run that is resumed where a validation is due begins with that
            self._begin(trainer)

    def _begin(self, trainer: Trainer) -> None:
        if self._begun:
            return
        self._begun = True
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / CONFIG
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacement_of(path) as partial:
                self._parser.save(self._config, str(partial), skip_none=False, overwrite=True, multifile=False)
        for logger in trainer.loggers:
            if isinstance(logger, RunLogger):
                logger.begin()
