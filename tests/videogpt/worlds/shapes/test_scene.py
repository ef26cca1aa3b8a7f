"""Scenes of the shapes world: what may happen in them, which are held out, and their JSON."""

from collections import Counter
from itertools import product

import pytest

from videogpt.worlds.shapes.scene import COLOURS, MOTIONS, SHAPES, Scene, is_held_out_pair, sample_scene
from videogpt.worlds.world import SPLITS


def test_a_seventh_of_the_pairs_is_held_out_and_spread_over_shapes_and_colours() -> None:
    held_out = [pair for pair in product(SHAPES, COLOURS) if is_held_out_pair(*pair)]
    assert len(held_out) * 7 == len(SHAPES) * len(COLOURS)
    assert len({shape for shape, _ in held_out}) == len({colour for _, colour in held_out}) == len(held_out)


@pytest.mark.parametrize("split", SPLITS)
def test_splits_keep_their_promise_and_scenes_survive_json(split: str) -> None:
    for index in range(300):
        scene = sample_scene(1, index, split)
        assert Scene.from_json(scene.to_json()) == scene
        looks = [one.attributes for one in scene.objects]
        assert any(is_held_out_pair(*pair) for look in looks for pair in look.pairs) == (split == "held_out")


def test_training_shows_every_attribute_often() -> None:
    looks = [one.attributes for index in range(600) for one in sample_scene(2, index).objects]
    seen = Counter(word for look in looks for word in (look.shape, look.motion, *look.colours))
    assert min(seen[word] for word in (*SHAPES, *COLOURS, *MOTIONS)) > 0.04 * len(looks)
    assert not any(look.shape == "circle" and look.motion == "spins" for look in looks)


def test_scenes_depend_on_seed_index_and_split() -> None:
    assert len({sample_scene(3, 5), sample_scene(3, 6), sample_scene(4, 5), sample_scene(3, 5, "held_out")}) == 4


@pytest.mark.parametrize("text", ["", "[]", '{"objects": [{}], "background": "black"}', "a red circle"])
def test_text_that_is_no_scene_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a scene"):
        Scene.from_json(text)
