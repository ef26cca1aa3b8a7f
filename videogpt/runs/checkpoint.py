"""Saves the checkpoint that a run goes on from, also when the run is stopped.

Trainer(default_root_dir="runs/tiny", callbacks=[RunCheckpoint(), RandomState(), StopBetweenSteps()])
"""

import errno
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from videogpt.console.messages import say
from videogpt.runs.finite_loss import NotFiniteError, check_weights, weights_are_finite
from videogpt.runs.folder import LAST
from videogpt_tokenizer.files.output import writing_to
from videogpt_tokenizer.files.replacing import replacement_of


class RunCheckpoint(Checkpoint):
    """Keeps `checkpoints/last.ckpt` of the run folder, whole at any moment.

    Writes it every `every_n_train_steps` steps, at the end, and on Ctrl-C or SIGTERM. Raises NotFiniteError rather
    than write weights that are infinite or NaN.

    A crash writes it, too, unless bad weights could replace good ones: before training has begun, in the middle of
    a step (a second Ctrl-C), when loss or weights are infinite or NaN, and in one process of several.
    """

    def __init__(self, every_n_train_steps: int = 500) -> None:
        """
        Args:
            every_n_train_steps: optimizer steps from one checkpoint to the next.
        """
        if every_n_train_steps < 1:
            raise ValueError(f"checkpoint.every_n_train_steps is {every_n_train_steps}; it must be 1 or more")
        self.every_n_train_steps = every_n_train_steps
        self._saved_step: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        stage_beside(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_step = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every_n_train_steps == 0:
            check_weights(trainer, pl_module)
            self._save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_weights(trainer, pl_module)
        self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        between_steps = isinstance(exception, SystemExit)
        alone = isinstance(exception, Exception) and trainer.world_size == 1
        sound = not isinstance(exception, NotFiniteError) and weights_are_finite(pl_module)
        if (between_steps or alone) and sound:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if self._saved_step in (None, trainer.global_step) or getattr(trainer, "fast_dev_run", False):
            return
        self._saved_step = None  # what cannot be written now is not tried again as the run ends
        path = Path(trainer.default_root_dir) / LAST
        with writing_to(path, "trainer.default_root_dir"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacement_of(path, leader=trainer.is_global_zero) as partial:
                # By all processes together; the strategies that write from all begin once the first has said where.
                trainer.save_checkpoint(partial, weights_only=False)
        self._saved_step = trainer.global_step


def stage_beside(trainer: Trainer) -> None:
    """Have checkpoints written beside their place; Lightning's own way takes as much memory and disk elsewhere first.

    Other ways that the user or the strategy has chosen stay.
    """
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = _StagedCheckpointIO()


class _StagedCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint to a hidden file beside its place, which it then takes."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacement_of(path) as partial:
            try:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
            except (OSError, RuntimeError) as error:  # torch covers what the system says with an error of its own
                said = error if isinstance(error, OSError) else error.__context__
                if not isinstance(said, OSError):
                    raise
                raise OSError(said.errno or errno.EIO, said.strerror, str(path)) from error


class RandomState(Callback):
    """Keeps PyTorch's random state in checkpoints: a resumed run draws the same numbers as an uninterrupted one."""

    def __init__(self) -> None:
        self._stored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._stored = state_dict

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._stored is None:
            return
        torch.set_rng_state(self._stored["cpu"].cpu())
        if len(self._stored["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._stored["cuda"]])
        self._stored = None


class StopBetweenSteps(Callback):
    """Turns Ctrl-C into SIGTERM, which Lightning obeys between two steps; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.interrupted = False
        self._previous: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._stop)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        # The handler from before may ignore Ctrl-C: a run in the background inherits that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        say("stopping after this step and keeping a checkpoint; Ctrl-C again stops at once")
        os.kill(os.getpid(), signal.SIGTERM)

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
