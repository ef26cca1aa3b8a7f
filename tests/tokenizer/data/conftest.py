"""Folders of clips that tell their own numbers, made once, and a training that tells what it was shown."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from videogpt_tokenizer.clips.clip import Clip


@pytest.fixture(scope="session")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 clips of 20 frames, 16 x 24, stored exactly; red tells the clip, green the frame, blue the half."""
    folder = tmp_path_factory.mktemp("numbered")
    for number in range(12):
        frames_THWC = torch.zeros(20, 16, 24, 3, dtype=torch.uint8)
        frames_THWC[..., 0] = 10 * number
        frames_THWC[..., 1] = 5 * torch.arange(20)[:, None, None]
        frames_THWC[:, :, 12:, 2] = 200
        Clip(frames_THWC, 8).write(folder / f"clip{number:02}.avi")
    return folder


@pytest.fixture
def damaged(numbered: Path, tmp_path: Path) -> Path:
    """The numbered clips, of which two cannot be decoded."""
    folder = tmp_path / "damaged"
    shutil.copytree(numbered, folder)
    (folder / "clip04.avi").write_bytes(b"")
    (folder / "clip07.avi").write_bytes((folder / "clip07.avi").read_bytes()[:700])
    return folder


class Recorder(lightning.LightningModule):
    """Learns one weight from what it is shown, and remembers that: numbers, or clips, of which it sees the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[list[float]] = []

    def training_step(self, batch: Any) -> torch.Tensor:
        shown = batch["video"].flatten(1).mean(dim=1) if isinstance(batch, dict) else batch
        self.seen.append(shown.tolist())
        return (self.weight * 0.9 - shown / 100).square().mean()

    def validation_step(self, batch: Any) -> None:
        if not isinstance(batch, dict):
            assert batch[0] == 0 or len(batch) == 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


@pytest.fixture(scope="session")
def fit() -> Callable[..., Recorder]:
    """Trains on `data`, which the trainer's `fit` takes, and leaves a `last.ckpt` in the folder."""

    def train(data: dict[str, Any], folder: Path, steps: int, resume: Path | None = None, **options: Any) -> Recorder:
        module = Recorder()
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[ModelCheckpoint(dirpath=folder, save_last=True, every_n_train_steps=1)],
            **options,
        )
        trainer.fit(module, **data, ckpt_path=resume)
        return module

    return train
