"""Folders of clips that tell their own numbers, made once."""

import shutil
from pathlib import Path

import pytest
import torch

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
