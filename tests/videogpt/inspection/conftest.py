"""A folder of two clips, to inspect."""

from pathlib import Path

import pytest


@pytest.fixture
def clips(tmp_path: Path, random_clip) -> Path:
    """Two sound clips in a class folder."""
    (tmp_path / "clips" / "red_circle").mkdir(parents=True)
    for index in range(2):
        random_clip(5 + index, 16, 24).write(tmp_path / "clips" / "red_circle" / f"{index}.avi")
    return tmp_path / "clips"
