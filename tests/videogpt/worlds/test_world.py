"""Every world keeps its promises: scenes come again, survive the metadata, and are read back from their pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from videogpt.worlds.world import SPLITS, WORLDS, World, check_draw
from videogpt_tokenizer.clips.folder import ClipRecord


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> World[Any]:
    entry = WORLDS[request.param]
    return entry.make() if entry.source is None else request.getfixturevalue(request.param)


@pytest.mark.parametrize("split", SPLITS)
def test_scenes_survive_the_metadata_and_are_read_back_from_pixels(world: World[Any], split) -> None:
    for index in range(4):
        scene = world.scene(2, index, split)
        assert scene == world.scene(2, index, split) != world.scene(3, index, split)
        caption = world.caption(scene, world.caption_rng(2, index, split))
        assert caption == world.caption(scene, world.caption_rng(2, index, split))
        fields = world.fields(scene)
        assert tuple(fields) == world.columns
        record = ClipRecord(Path("clip.mp4"), caption, fields)
        assert world.scene_of(record) == scene
        assert world.full_caption(record, np.random.default_rng(0)) and world.group(scene)
        assert all(world.verdict(world.render(scene).frames_THWC.numpy(), scene).values())


@pytest.mark.parametrize(
    "draw, complaint",
    [
        ((-1, 0, "train"), "seed=-1 must not be negative"),
        ((0, -1, "train"), "index=-1"),
        ((0, 0, "test"), "split='test'.*held_out"),
    ],
)
def test_draws_out_of_range_are_refused(world: World[Any], draw: tuple[int, int, Any], complaint: str) -> None:
    for refuse in (check_draw, world.scene, world.caption_rng):
        with pytest.raises(ValueError, match=complaint):
            refuse(*draw)


def test_the_table_is_light(run_python) -> None:
    run_python("import videogpt.commands.world", without=("numpy", "torch", "av", "scipy", "PIL"))
