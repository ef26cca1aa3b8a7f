"""Captions of the shapes world: true, varied, and unmistakable where they are full."""

import numpy as np

from videogpt.worlds.shapes.captions import OMITTED, shapes_caption
from videogpt.worlds.shapes.scene import sample_scene
from videogpt.worlds.shapes.world import ShapesWorld


def test_captions_vary_and_full_ones_name_everything() -> None:
    scene = sample_scene(0, 5)  # a circle and a square on brown
    short = {shapes_caption(scene, np.random.default_rng(seed)) for seed in range(200)}
    full = {shapes_caption(scene, np.random.default_rng(seed), full=True) for seed in range(200)}
    assert len(short) > 60 and short - full
    for text in full:
        assert text == text.lower() and not text.endswith(".")
        for look in (one.attributes for one in scene.objects):
            assert look.colour.replace("purple", "") in text and (look.size or "") in text
        assert "brown background" in text and ("circle" in text or "disc" in text) and "square" in text


def test_size_and_background_are_left_out_now_and_then() -> None:
    world = ShapesWorld()
    texts = [world.caption(world.scene(8, index), world.caption_rng(8, index)) for index in range(400)]
    bare = sum("background" not in text for text in texts) / len(texts)
    assert abs(bare - OMITTED) < 0.06
    assert not any(" a orange" in f" {text}" for text in texts)


def test_full_captions_of_different_scenes_differ() -> None:
    meaning_of: dict[str, object] = {}
    for index in range(1500):
        scene = sample_scene(9, index)
        text = shapes_caption(scene, ShapesWorld().caption_rng(9, index), full=True)
        meaning = frozenset(one.attributes for one in scene.objects), scene.background
        assert meaning_of.setdefault(text, meaning) == meaning
