"""Written clips are known again by the columns of their metadata, and samples are read by their world."""

from pathlib import Path

import pytest
import torch

from videogpt.evaluation.caption_following import caption_following, find_world
from videogpt.worlds.shapes.render import render
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt.worlds.sprites.world import SpritesWorld
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder, ClipRecord

KNOWN = ClipRecord(Path("a.mp4"), "a circle", {"scene": "{}"})
PLAIN = ClipRecord(Path("b.mp4"), "a cat")
SPRITE = ClipRecord(Path("c.mp4"), "a green orc", dict.fromkeys(SpritesWorld.columns, ""))


def test_clips_that_nobody_can_read_are_of_no_world(tmp_path: Path) -> None:
    """Nor those of a world that needs a source, without it."""
    assert isinstance(find_world([KNOWN, KNOWN]), ShapesWorld)
    for records in ([PLAIN], [KNOWN, PLAIN], [SPRITE]):
        assert find_world(records) is None
    for record, complaint in ((PLAIN, "lack the columns of sprites"), (SPRITE, "attributes.tsv is missing")):
        with pytest.raises(ValueError, match=complaint):
            find_world([record], source=tmp_path)


def test_caption_following_is_perfect_for_a_perfect_model(tmp_path: Path) -> None:
    assert len(list(write_world(tmp_path, clips=3, seed=5))) == 3
    records = list(ClipFolder(tmp_path))
    world = find_world(records)
    assert isinstance(world, ShapesWorld)
    perfect = [Clip(torch.from_numpy(render(world.scene_of(record))), 8.0) for record in records]
    shares = caption_following(lambda prompts, seed: perfect, records, world)
    assert set(shares.values()) == {1.0}
    assert {f"all attributes, {world.group(world.scene_of(record))}" for record in records} <= shares.keys()
    black = Clip(torch.zeros(17, 64, 64, 3, dtype=torch.uint8), 8.0)
    assert caption_following(lambda prompts, seed: [black] * 3, records, world)["all attributes"] == 0.0
