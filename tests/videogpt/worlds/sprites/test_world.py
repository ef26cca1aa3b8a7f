"""The sprites world: a fair split, and clips that are checked attribute by attribute."""

import itertools
from pathlib import Path

import numpy as np

from videogpt.evaluation.caption_following import find_world
from videogpt.worlds.sprites.scene import Sprite, is_held_out_character
from videogpt.worlds.sprites.world import SpritesWorld
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder


def test_split_holds_out_characters_fairly(sprites: SpritesWorld) -> None:
    train, held_out = set(sprites.numbers("train").tolist()), set(sprites.numbers("held_out").tolist())
    assert train | held_out == set(range(len(sprites.sheets))) and not train & held_out
    assert {i // 20 for i in train}.isdisjoint({i // 20 for i in held_out})
    full = np.stack(np.meshgrid(*map(np.arange, (7, 7, 7, 10)), indexing="ij")).reshape(4, -1)
    kept = full[:, ~is_held_out_character(*full)]
    assert 0.9 < kept.shape[1] / full.shape[1] < 0.92
    for first, second in itertools.combinations(range(4), 2):
        pairs = np.prod([full[first].max() + 1, full[second].max() + 1])
        assert len(np.unique(kept[[first, second]], axis=1).T) == pairs  # every pair is seen in training


def test_captions_are_checked_attribute_by_attribute(source: Path, sprites: SpritesWorld, tmp_path: Path) -> None:
    list(write_world(tmp_path / "clips", clips=2, world=sprites, suffix=".avi"))
    records = list(ClipFolder(tmp_path / "clips"))
    assert find_world(records) is None  # not without the sheets
    world = find_world(records, source)
    assert world is not None and world.full_caption(records[0], np.random.default_rng(0)) == records[0].caption
    first, second = map(world.scene_of, records)
    assert world.group(first) == first.action
    frames_THWC = Clip.read(records[0].path).frames_THWC.numpy()
    assert world.verdict(frames_THWC, first) == dict.fromkeys(Sprite._fields, True)
    wrong = world.verdict(frames_THWC, second)
    assert wrong == {name: records[0].fields[name] == records[1].fields[name] for name in Sprite._fields}
    assert not all(wrong.values())
