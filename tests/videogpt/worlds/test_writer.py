"""Worlds are written whole or not at all, the same for the same arguments, and can be read back."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

from videogpt.worlds.shapes.render import render
from videogpt.worlds.shapes.scene import FRAME_SIZE, Scene
from videogpt.worlds.sprites.world import SpritesWorld
from videogpt.worlds.world import NUM_FRAMES, Split
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.clip import Clip


def test_written_folder_can_be_read_and_repeated(tmp_path: Path) -> None:
    paths = list(write_world(tmp_path / "one", clips=3, seed=4))
    (tmp_path / "two").mkdir()  # an empty folder may be there
    list(write_world(tmp_path / "two", clips=3, seed=4))
    assert [path.exists() for path in paths] == [True] * 3
    with (tmp_path / "one" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tmp_path / "one" / row["file_name"] for row in rows] == paths
    clip = Clip.read(paths[1])
    assert tuple(clip.frames_THWC.shape) == (NUM_FRAMES, FRAME_SIZE, FRAME_SIZE, 3) and clip.fps == 8
    wanted_THWC = render(Scene.from_json(rows[1]["scene"])).astype(int)
    assert np.abs(clip.frames_THWC.numpy() - wanted_THWC).mean() < 2
    for path in paths:
        assert path.read_bytes() == (tmp_path / "two" / "clips" / path.name).read_bytes()


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_interrupted_writing_leaves_nothing(suffix: str, tmp_path: Path) -> None:
    writing = write_world(tmp_path / "world", clips=5, suffix=suffix)
    next(writing)
    writing.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"clips": 0}, {"seed": -1}, {"split": "test"}])
def test_bad_arguments_are_refused_at_once(tmp_path: Path, sprites: SpritesWorld, change: dict) -> None:
    for world in (None, sprites):
        with pytest.raises(ValueError, match=next(iter(change))):
            write_world(tmp_path / "world", **{"clips": 1, "world": world, **change})
    with pytest.raises(ValueError, match="1 to 420 clips"):
        write_world(tmp_path / "world", clips=421, world=sprites)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        next(write_world(tmp_path, clips=1))
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize(
    "split, shapes, characters",
    [("train", "647627713f66bda7", "d2f56d2066f22344"), ("held_out", "b5e862b63a4818fb", "cb25f37f9a472803")],
)
def test_scenes_and_words_stay_what_they_were(split: Split, shapes: str, characters: str, sprites, tmp_path) -> None:
    """Evaluations generate their clips anew: these must be those that earlier figures were measured on."""
    for world, expected in ((None, shapes), (sprites, characters)):
        folder = tmp_path / expected
        list(write_world(folder, clips=4, seed=3, split=split, world=world))
        assert hashlib.sha256((folder / "metadata.csv").read_bytes()).hexdigest()[:16] == expected
