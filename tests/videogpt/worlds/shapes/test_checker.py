"""The checker reads the world's own clips, through compression and blur, and is not fooled by wrong ones."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from videogpt.worlds.shapes.checker import agreement, check
from videogpt.worlds.shapes.render import render
from videogpt.worlds.shapes.scene import SHAPES, Attributes, Scene, SceneObject, Track, sample_scene
from videogpt.worlds.world import FPS, SPLITS
from videogpt_tokenizer.clips.clip import Clip

Frames = NDArray[np.uint8]


def still(shape: str = "square", colour: str = "red", radius: float = 8.5, **track) -> SceneObject:
    """An object in the middle of the left half."""
    fields = {"start": (17.0, 32.0), "region": (12.0, 12.0, 52.0, 52.0), "last_radius": radius, **track}
    look = Attributes(shape=shape, colour=colour, motion="stays still", size="medium")
    return SceneObject(attributes=look, track=Track(radius=radius, **fields))


def scene_of(*objects: SceneObject) -> Scene:
    return Scene(objects=objects, background="grey")


def only_object(frames_THWC: Frames) -> Attributes:
    (look,), _ = check(frames_THWC)
    return look


def found(frames_THWC: Frames, scene: Scene) -> dict[str, bool]:
    return agreement(*check(frames_THWC), scene)


def agrees(frames_THWC: Frames, scene: Scene) -> bool:
    return all(found(frames_THWC, scene).values())


def blurred(frames_THWC: Frames, rng: np.random.Generator, sigma: float = 0.7) -> Frames:
    soft = ndimage.gaussian_filter(frames_THWC.astype(np.float32), (0, sigma, sigma, 0))
    return np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).round().astype(np.uint8)


def coded(frames_THWC: Frames, rng: np.random.Generator) -> Frames:
    """As a tokenizer with four frames to a code leaves them: the middle two are a mix of their neighbours."""
    mixed = frames_THWC.astype(np.float32)
    for middle in (2, 3):
        for t in range(middle, len(mixed) - 1, 4):
            mixed[t] = frames_THWC[t - 1 : t + 2].mean(0)
    return blurred(mixed, rng, sigma=0.8)


@pytest.mark.parametrize("split", SPLITS)
def test_reads_the_worlds_own_clips(split: str) -> None:
    scenes = [sample_scene(100, index, split) for index in range(40)]
    assert [scene for scene in scenes if not agrees(render(scene), scene)] == []


def test_reads_compressed_clips(tmp_path: Path) -> None:
    for index in range(20):
        scene = sample_scene(101, index)
        path = Clip(torch.from_numpy(render(scene)), FPS).write(tmp_path / "clip.mp4", crf=10)
        assert agrees(Clip.read(path).frames_THWC.numpy(), scene), scene


@pytest.mark.parametrize("damage, seed", [(blurred, 102), (coded, 103)])
def test_reads_clips_that_are_blurred_and_noisy_or_went_through_codes(damage, seed: int) -> None:
    rng = np.random.default_rng(seed - 102)
    scenes = [sample_scene(seed, index) for index in range(35)]
    right = [agrees(damage(render(scene), rng), scene) for scene in scenes]
    assert np.mean(right) > 0.95


def test_shape_is_judged_from_the_frames_that_show_corners() -> None:
    frames_THWC = render(scene_of(still("star")))
    blunt_THWC = render(scene_of(still("circle")))
    for t in (1, 2, 5, 6, 9, 10, 13, 14):
        frames_THWC[t] = blunt_THWC[t]
    assert only_object(frames_THWC).shape == "star"


@pytest.mark.parametrize(
    "name, value", [("shape", "circle"), ("colour", "orange"), ("size", "small"), ("motion", "moves up")]
)
def test_a_wrong_attribute_is_the_one_that_disagrees(name: str, value: str) -> None:
    one = still()
    right = found(render(scene_of(one)), scene_of(replace(one, attributes=replace(one.attributes, **{name: value}))))
    assert list(right) == ["count", "shape", "colour", "size", "motion", "background"]
    assert [key for key in right if not right[key]] == [name]


def test_background_and_count_are_judged() -> None:
    one, other = still(), still("star", "white", start=(47.0, 32.0))
    frames_THWC = render(scene_of(one, other))
    assert agrees(frames_THWC, scene_of(other, one))
    assert not found(frames_THWC, replace(scene_of(one, other), background="navy"))["background"]
    alone = found(frames_THWC, scene_of(one))
    assert alone["background"] and not alone["count"] and not alone["shape"]
    swapped = found(frames_THWC, scene_of(still(colour="white"), still("star", "red", start=(47.0, 32.0))))
    assert swapped["count"] and not all(swapped.values())


def test_specks_and_short_flashes_are_no_objects() -> None:
    frames_THWC = render(scene_of(still()))
    frames_THWC[:, 50:53, 50:53] = 255
    frames_THWC[4:6, 40:50, 40:50] = 255
    assert agrees(frames_THWC, scene_of(still()))


@pytest.mark.parametrize(
    "track, motion",
    [({"velocity": (1.5, 0.0), "turn": 10.0}, "spins and moves right"), ({"velocity": (1.5, 1.0)}, "moves diagonally")],
)
def test_two_motions_at_once_are_both_named_and_a_slant_is_no_bounce(track: dict, motion: str) -> None:
    assert only_object(render(scene_of(still(**track)))).motion == motion


def test_an_object_that_vanishes_comes_and_goes() -> None:
    frames_THWC = render(scene_of(still()))
    frames_THWC[10:] = frames_THWC[0, 0, 0]
    assert only_object(frames_THWC).motion == "comes and goes"


@pytest.mark.parametrize("first, second", [*permutations(SHAPES, 2)])
@pytest.mark.parametrize("cut", [6, 10])
def test_a_shape_that_becomes_another_is_seen(first: str, second: str, cut: int) -> None:
    frames_THWC = render(scene_of(still(first)))
    frames_THWC[cut:] = render(scene_of(still(second)))[cut:]
    for seen_THWC in (frames_THWC, coded(frames_THWC, np.random.default_rng(2))):
        assert only_object(seen_THWC).shape == f"{first}, then {second}"


@pytest.mark.parametrize(
    "rows, columns, lacks", [((30, 34), (10, 54), 0), ((25, 39), (18, 46), 0), ((22, 42), (22, 42), 10)]
)
def test_a_thing_like_no_shape_is_unclear(rows: tuple[int, int], columns: tuple[int, int], lacks: int) -> None:
    """Two bars, and a square that lacks a quarter."""
    frames_THWC = np.full((17, 64, 64, 3), 10, np.uint8)
    frames_THWC[:, slice(*rows), slice(*columns)] = 240
    frames_THWC[:, rows[0] : rows[0] + lacks, columns[1] - lacks : columns[1]] = 10
    assert only_object(frames_THWC).shape == "unclear"
    assert lacks or only_object(coded(frames_THWC, np.random.default_rng(3))).shape == "unclear"


def test_empty_and_noisy_clips_are_read_without_error() -> None:
    assert check(np.zeros((17, 64, 64, 3), np.uint8)) == ([], "black")
    noise_THWC = np.random.default_rng(0).integers(0, 256, (17, 64, 64, 3)).astype(np.uint8)
    assert not agrees(noise_THWC, scene_of(still()))


@pytest.mark.parametrize(
    "frames", [np.zeros((17, 64, 64, 3)), np.zeros((64, 64, 3), np.uint8), np.zeros((5, 64, 64, 3), np.uint8)]
)
def test_frames_of_another_kind_are_refused(frames: NDArray) -> None:
    with pytest.raises(ValueError, match="checker"):
        check(frames)
