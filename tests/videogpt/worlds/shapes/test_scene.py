"""The shapes world: scenes, pictures, captions and the folder they are written to."""

import csv
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from videogpt.worlds.shapes.captions import OMITTED, caption
from videogpt.worlds.shapes.render import BACKGROUND_RGB, Placement, cover, place, render
from videogpt.worlds.shapes.scene import (
    COLOURS,
    FRAME_SIZE,
    MOTIONS,
    NUM_FRAMES,
    SHAPES,
    SPLITS,
    Attributes,
    Scene,
    SceneObject,
    Track,
    caption_rng,
    is_held_out,
    sample_scene,
)
from videogpt.worlds.writer import write_world
from videogpt_tokenizer.clips.clip import Clip


def test_a_seventh_of_the_pairs_is_held_out_and_spread_over_shapes_and_colours() -> None:
    held_out = [pair for pair in product(SHAPES, COLOURS) if is_held_out(*pair)]
    assert len(held_out) * 7 == len(SHAPES) * len(COLOURS)
    assert len({shape for shape, _ in held_out}) == len({colour for _, colour in held_out}) == len(held_out)


@pytest.mark.parametrize("split", SPLITS)
def test_splits_keep_their_promise(split: str) -> None:
    for index in range(300):
        looks = [one.attributes for one in sample_scene(1, index, split).objects]
        assert any(is_held_out(*pair) for look in looks for pair in look.pairs) == (split == "held_out")


def test_training_shows_every_attribute_often() -> None:
    looks = [one.attributes for index in range(600) for one in sample_scene(2, index).objects]
    seen = Counter(word for look in looks for word in (look.shape, look.motion, *look.colours))
    assert min(seen[word] for word in (*SHAPES, *COLOURS, *MOTIONS)) > 0.04 * len(looks)
    assert not any(look.shape == "circle" and look.motion == "spins" for look in looks)


def test_scene_depends_on_seed_index_and_split_only() -> None:
    assert sample_scene(3, 5) == sample_scene(3, 5)
    assert len({sample_scene(3, 5), sample_scene(3, 6), sample_scene(4, 5), sample_scene(3, 5, "held_out")}) == 4


def test_scene_survives_json() -> None:
    for index in range(50):
        scene = sample_scene(5, index)
        assert Scene.from_json(scene.to_json()) == scene


@pytest.mark.parametrize("text", ["", "[]", '{"objects": [{}], "background": "black"}', "a red circle"])
def test_text_that_is_no_scene_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a scene"):
        Scene.from_json(text)


def test_unknown_split_and_negative_seed_are_refused() -> None:
    with pytest.raises(ValueError, match="held_out"):
        sample_scene(0, 0, "test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        sample_scene(-1, 0)


def test_objects_never_touch_the_rim_or_each_other() -> None:
    for index in range(60):
        scene = sample_scene(6, index)
        frames_THWC = render(scene).astype(int)
        differs_THW = (frames_THWC != np.array(BACKGROUND_RGB[scene.background])).any(-1)
        assert not differs_THW[:, [0, -1]].any() and not differs_THW[:, :, [0, -1]].any()
        alone = [render(Scene(objects=(one,), background=scene.background)) for one in scene.objects]
        covered = [(frames != frames[0, 0, 0]).any(-1) for frames in alone]
        assert len(covered) == 1 or not (covered[0] & covered[1]).any()


def test_motion_is_plain_to_see() -> None:
    """Translations go 14 pixels or more and one way; bounces turn back midway, and slowly enough to follow."""
    for index in range(150):
        for one in sample_scene(7, index).objects:
            steps_TX = np.diff(place(one.track).centre_TX, axis=0)
            if one.attributes.motion == "moves left":
                assert steps_TX[:, 0].sum() <= -13.9 and (steps_TX[:, 0] < 0).all() and not steps_TX[:, 1].any()
            elif one.attributes.motion == "bounces":
                turned_TX = np.sign(steps_TX[1:]) != np.sign(steps_TX[:-1])
                assert turned_TX[3:12].any() and np.ptp(place(one.track).centre_TX, axis=0).min() > 4
            elif not one.attributes.motion.startswith("moves"):
                assert not steps_TX.any()
            assert np.abs(steps_TX).max() <= 2.5
            assert 5 <= abs(one.track.turn) <= 8 or (one.attributes.motion != "spins" and not one.track.turn)


@pytest.mark.parametrize("shape, area", [("circle", 3.1416), ("square", 2.88), ("triangle", 2.1954), ("star", 2.2831)])
@pytest.mark.parametrize("degrees", [0, 17, 45])
def test_coverage_is_anti_aliased_and_has_the_area_of_the_shape(shape: str, area: float, degrees: float) -> None:
    placement = Placement(np.array([[30.3, 31.8]]), np.array([9.0]), np.radians([degrees]))
    coverage_SS = cover(shape, placement).coverage_TSS[0]
    assert coverage_SS.sum() == pytest.approx(area * 81, rel=0.01)
    assert 8 < ((coverage_SS > 0.05) & (coverage_SS < 0.95)).sum() < 90


def test_colour_changes_from_the_first_to_the_second() -> None:
    look = Attributes(shape="square", colour="red", motion="changes colour", size="large", second_colour="blue")
    track = Track(start=(32, 32), region=(20, 20, 44, 44), radius=13, last_radius=13, colour_change=8)
    frames_THWC = render(Scene(objects=(SceneObject(attributes=look, track=track),), background="black"))
    centre_TC = frames_THWC[:, 32, 32]
    assert centre_TC[0].argmax() == 0 and centre_TC[-1].argmax() == 2
    assert (np.diff(centre_TC[:, 2].astype(int)) >= 0).all() and len(np.unique(centre_TC[:, 2])) > 4


def test_captions_vary_and_full_ones_name_everything() -> None:
    scene = sample_scene(0, 5)  # a circle and a square on brown
    short = {caption(scene, np.random.default_rng(seed)) for seed in range(200)}
    full = {caption(scene, np.random.default_rng(seed), full=True) for seed in range(200)}
    assert len(short) > 60 and short - full
    for text in full:
        assert text == text.lower() and not text.endswith(".")
        for look in (one.attributes for one in scene.objects):
            assert look.colour.replace("purple", "") in text and (look.size or "") in text
        assert "brown background" in text and ("circle" in text or "disc" in text) and "square" in text


def test_size_and_background_are_left_out_now_and_then() -> None:
    texts = [caption(sample_scene(8, index), caption_rng(8, index)) for index in range(400)]
    bare = sum("background" not in text for text in texts) / len(texts)
    assert abs(bare - OMITTED) < 0.06
    assert not any(" a orange" in f" {text}" for text in texts)


def test_full_captions_of_different_scenes_differ() -> None:
    def meaning(scene: Scene) -> tuple[frozenset[Attributes], str]:
        return frozenset(one.attributes for one in scene.objects), scene.background

    meaning_of: dict[str, object] = {}
    for index in range(1500):
        scene = sample_scene(9, index)
        text = caption(scene, caption_rng(9, index), full=True)
        assert meaning_of.setdefault(text, meaning(scene)) == meaning(scene)


def test_written_folder_can_be_read_and_repeated(tmp_path: Path) -> None:
    paths = list(write_world(tmp_path / "one", clips=3, seed=4))
    list(write_world(tmp_path / "two", clips=3, seed=4))
    assert [path.exists() for path in paths] == [True] * 3
    with open(tmp_path / "one" / "metadata.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [tmp_path / "one" / row["file_name"] for row in rows] == paths
    clip = Clip.read(paths[1])
    assert tuple(clip.frames_THWC.shape) == (NUM_FRAMES, FRAME_SIZE, FRAME_SIZE, 3) and clip.fps == 8
    wanted_THWC = render(Scene.from_json(rows[1]["scene"])).astype(int)
    assert np.abs(clip.frames_THWC.numpy() - wanted_THWC).mean() < 2
    for path in paths:
        assert path.read_bytes() == (tmp_path / "two" / "clips" / path.name).read_bytes()


def test_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    writing = write_world(tmp_path / "world", clips=5)
    next(writing)
    writing.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"clips": 0}, {"seed": -1}, {"split": "test"}])
def test_bad_arguments_are_refused_before_anything_is_made(tmp_path: Path, change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        next(write_world(tmp_path / "world", **{"clips": 1, **change}))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        next(write_world(tmp_path, clips=1))
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert list(write_world(tmp_path, clips=1))[0].exists()
