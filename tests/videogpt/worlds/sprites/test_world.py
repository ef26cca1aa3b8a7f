"""The sprites world: a fair split, and clips that are checked attribute by attribute."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from videogpt.evaluation.caption_following import find_world
from videogpt.worlds.sprites.captions import sprite_caption
from videogpt.worlds.sprites.scene import Sprite, is_held_out_character
from videogpt.worlds.sprites.world import SpritesWorld
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder


def test_split_holds_out_characters_fairly(sprites: SpritesWorld) -> None:
    train, held_out = set(sprites.numbers("train").tolist()), set(sprites.numbers("held_out").tolist())
    with pytest.raises(ValueError, match=f"index={len(held_out)}: the split 'held_out' has {len(held_out)} clips"):
        sprites.scene(0, len(held_out), "held_out")
    assert train | held_out == set(range(len(sprites.sheets))) and not train & held_out
    assert {i // 20 for i in train}.isdisjoint({i // 20 for i in held_out})
    full = np.stack(np.meshgrid(*map(np.arange, (7, 7, 7, 10)), indexing="ij")).reshape(4, -1)
    kept = full[:, ~is_held_out_character(*full)]
    assert 0.9 < kept.shape[1] / full.shape[1] < 0.92
    for first, second in itertools.combinations(range(4), 2):
        pairs = np.prod([full[first].max() + 1, full[second].max() + 1])
        assert len(np.unique(kept[[first, second]], axis=1).T) == pairs  # every pair is seen in training


def test_a_folder_of_sprites_is_a_data_set_and_checked_attribute_by_attribute(source, sprites, tmp_path: Path) -> None:
    paths = list(write_world(tmp_path / "clips", clips=6, seed=3, split="held_out", world=sprites))
    records = list(ClipFolder(tmp_path / "clips"))
    assert [record.path for record in records] == paths
    assert find_world(records) is None  # not without the sheets
    world = find_world(records, source)
    assert isinstance(world, SpritesWorld)
    scenes = [world.scene_of(record) for record in records]
    numbers = [world.sheets.number(scene) for scene in scenes]
    assert len(set(numbers)) == 6 and set(numbers) <= set(world.numbers("held_out").tolist())
    for number, record, scene in zip(numbers, records, scenes, strict=True):
        assert record.caption == sprite_caption(scene, np.random.default_rng([3, number]))
        assert record.caption == world.full_caption(record, np.random.default_rng(0))
        assert world.group(scene) == scene.action
        for wanted in (scene, scenes[0]):
            right = world.verdict(Clip.read(record.path).frames_THWC.numpy(), wanted)
            assert right == {name: getattr(scene, name) == getattr(wanted, name) for name in Sprite._fields}
