"""Written clips are known again by the columns of their metadata."""

from pathlib import Path

import pytest

from videogpt.evaluation.caption_following import find_world
from videogpt.worlds.shapes.world import ShapesWorld
from videogpt_tokenizer.clips.folder import ClipRecord

SPRITE = dict.fromkeys(("body", "bottomwear", "topwear", "hair", "action", "direction"), "")
KNOWN = ClipRecord(Path("a.mp4"), "a circle", {"scene": "{}"})
PLAIN = ClipRecord(Path("b.mp4"), "a cat")


def test_columns_tell_the_world() -> None:
    assert isinstance(find_world([KNOWN, KNOWN]), ShapesWorld)


def test_clips_that_nobody_can_read_are_of_no_world(tmp_path: Path) -> None:
    assert find_world([PLAIN]) is None
    assert find_world([KNOWN, PLAIN]) is None
    with pytest.raises(ValueError, match="lack the columns of sprites"):
        find_world([PLAIN], source=tmp_path)


def test_a_world_that_needs_a_source_is_found_with_it_alone(tmp_path: Path) -> None:
    records = [ClipRecord(Path("c.mp4"), "a green orc", SPRITE)]
    assert find_world(records) is None
    with pytest.raises(ValueError, match="attributes.tsv is missing"):
        find_world(records, source=tmp_path)
