"""A folder of two clips, to inspect."""

from pathlib import Path

import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two sound clips in a class folder."""
    (tmp_path / "clips" / "red_circle").mkdir(parents=True)
    for index in range(2):
        frames = torch.randint(0, 256, (5 + index, 16, 24, 3)).to(torch.uint8)
        Clip(frames, 8).write(tmp_path / "clips" / "red_circle" / f"{index}.avi")
    return tmp_path / "clips"
