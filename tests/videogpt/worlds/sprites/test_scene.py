"""Sprites world: exact composition, true captions, a fair split, and a checker that reads clips back.

A small source of random sheets stands in for the real one, tested where VIDEOGPT_DATA names its folder.
"""

import csv
import itertools
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from videogpt.evaluation.caption_following import find_check
from videogpt.worlds.sprites.checker import SpritesChecker
from videogpt.worlds.sprites.scene import (
    ACTIONS,
    CELL,
    COLUMNS,
    DIRECTIONS,
    LAYERS,
    NUM_FRAMES,
    ROWS,
    Sprite,
    SpritesWorld,
    is_held_out,
    write_sprites,
)
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipFolder

WORDS = {
    "body": ("light skin", "green orc"),
    "bottomwear": ("white trousers", "brown skirt"),
    "topwear": ("teal shirt", "chain mail"),
    "hair": ("red hair", "blue topknot", "white hair"),
}
AREAS = {"body": (8, 48), "bottomwear": (34, 48), "topwear": (22, 36), "hair": (8, 20), "shoes": (46, 52)}


def random_sheet(rng: np.random.Generator, top: int, bottom: int) -> np.ndarray:
    """A patch of one colour with spots in every cell, jumping about from cell to cell."""
    sheet = np.zeros((ROWS * CELL, COLUMNS * CELL, 4), np.uint8)
    colour = rng.integers(40, 256, 3)
    for row, column in itertools.product(range(ROWS), range(COLUMNS)):
        left = 14 + (7 * row + 5 * column) % 20
        y, x = row * CELL + top + row % 4, column * CELL + left
        patch = sheet[y : y + bottom - top, x : x + 16]
        patch[..., :3] = colour * rng.choice([0.3, 1.0], (*patch.shape[:2], 1), p=[0.2, 0.8])
        patch[..., 3] = 255
    return sheet


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """24 characters; the chain mail has no picture for thrusting."""
    folder = tmp_path_factory.mktemp("sheets")
    rng = np.random.default_rng(0)
    lines = ["layer\tindex\twords"]
    for layer, area in AREAS.items():
        (folder / layer).mkdir()
        names = WORDS.get(layer, ("bare feet", "boots"))
        for i, words in enumerate(names):
            sheet = random_sheet(rng, *area)
            if words == "chain mail":
                sheet[4 * CELL : 8 * CELL] = 0
            Image.fromarray(sheet).save(folder / layer / f"{i}.png", compress_level=1)
            lines += [f"{layer}\t{i}\t{words}"] if layer in WORDS else []
    (folder / "attributes.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def world(source: Path) -> SpritesWorld:
    return SpritesWorld(source)


@pytest.fixture(scope="module")
def checker(world: SpritesWorld) -> SpritesChecker:
    return SpritesChecker(world)


def test_clips_go_round_their_action(world: SpritesWorld) -> None:
    assert len(world) == 24 * 20
    for index, (action, place) in zip(range(0, 20, 4), ACTIONS.items(), strict=True):
        clip = world.clip(index)
        assert world.sprite(index).action == action
        assert tuple(clip.frames_THWC.shape) == (NUM_FRAMES, CELL, CELL, 3) and clip.fps == 8
        again = [(clip.frames_THWC[t] == clip.frames_THWC[0]).all().item() for t in range(NUM_FRAMES)]
        assert [t for t, same in enumerate(again) if same] == list(range(0, NUM_FRAMES, place.num_frames))


def test_higher_layers_cover_lower_ones(world: SpritesWorld, source: Path) -> None:
    index = 120 + 8 + DIRECTIONS.index("left")  # body 0, bottomwear 1, topwear 0, hair 0, walking left
    assert world.sprite(index) == ("light skin", "brown skirt", "teal shirt", "red hair", "walk", "left")
    expected = np.zeros((CELL, CELL, 3), np.uint8)
    for name in ("body/0", "bottomwear/1", "topwear/0", "hair/0", "shoes/1"):
        sheet = np.array(Image.open(source / f"{name}.png"))
        cell = sheet[9 * CELL : 10 * CELL, 2 * CELL : 3 * CELL]  # row 8 walks away, 9 left; third frame
        expected = np.where(cell[..., 3:] > 0, cell[..., :3], expected)
    assert np.array_equal(world.clip(index).frames_THWC[2].numpy(), expected)


def test_captions_say_what_is_seen(world: SpritesWorld) -> None:
    for index in range(len(world)):
        sprite, caption = world.sprite(index), world.caption(index)
        teal, bare = "teal shirt" in caption, sprite.topwear == "bare chest"
        assert bare == (sprite.action == "thrust" and not teal)
        assert bare == ("bare-chested in" in caption)
        assert all(words in caption for words in sprite[: len(LAYERS)] if words != "bare chest")
        assert ("a blue topknot" in caption) == (sprite.hair == "blue topknot")
        assert ("left" in caption) == (sprite.direction == "left")
        assert bool(re.search("walks|strides", caption)) == (sprite.action == "walk")


def test_wording_varies_with_the_seed(world: SpritesWorld) -> None:
    wordings = {world.caption(7, seed) for seed in range(50)}
    assert len(wordings) > 10
    assert world.caption(7) == world.caption(7, 0) in wordings


def test_split_holds_out_characters_fairly(world: SpritesWorld) -> None:
    train, held_out = set(world.split("train").tolist()), set(world.split("held_out").tolist())
    assert train | held_out == set(range(len(world))) and not train & held_out
    assert {i // 20 for i in train}.isdisjoint({i // 20 for i in held_out})
    full = np.stack(np.meshgrid(*map(np.arange, (7, 7, 7, 10)), indexing="ij")).reshape(4, -1)
    kept = full[:, ~is_held_out(*full)]
    assert 0.9 < kept.shape[1] / full.shape[1] < 0.92
    for first, second in itertools.combinations(range(4), 2):
        pairs = np.prod([full[first].max() + 1, full[second].max() + 1])
        assert len(np.unique(kept[[first, second]], axis=1).T) == pairs  # every pair is seen in training


def distort(frames: np.ndarray, how: str) -> np.ndarray:
    if how == "noise":
        frames = frames + np.random.default_rng(0).normal(0, 20, frames.shape)
    if how == "blur":
        frames = gaussian_filter(frames.astype(np.float32), (0, 1, 1, 0))
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("how", ["as it is", "noise", "blur"])
def test_checker_reads_clips_back(world: SpritesWorld, checker: SpritesChecker, how: str) -> None:
    for index in range(3, len(world), 79):
        match = checker.read(distort(world.clip(index).frames_THWC.numpy(), how))
        assert (match.index, match.sprite) == (index, world.sprite(index))
        assert (match.error < 0.01) == (how == "as it is")
        assert (match.blur > 0) == (how == "blur")


def test_checker_finds_the_nearest_of_all(world: SpritesWorld, checker: SpritesChecker) -> None:
    clips = [world.clip(i).frames_THWC.numpy() for i in range(len(world))]
    mixture = np.stack([clips[7], clips[90], clips[333]]).astype(np.float32).mean(axis=0)
    distances = [float(np.square(clip - mixture).mean(dtype=np.float64)) for clip in clips]
    assert checker._nearest(mixture) == np.argmin(distances)


def test_checker_refuses_other_sizes(checker: SpritesChecker) -> None:
    with pytest.raises(ValueError, match=r"\(9, 64, 64, 3\)"):
        checker.read(np.zeros((9, 64, 64, 3), np.uint8))


def test_written_folder_is_a_data_set(source: Path, world: SpritesWorld, checker, tmp_path) -> None:
    output = tmp_path / "sprites"
    paths = list(write_sprites(source, output, clips=6, seed=3, split="held_out"))
    records = ClipFolder(output)
    assert [record.path for record in records] == paths
    with open(output / "metadata.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    held_out = set(world.split("held_out").tolist())
    matches = [checker.read(Clip.read(path).frames_THWC.numpy()) for path in paths]
    assert len({match.index for match in matches}) == 6 and {match.index for match in matches} <= held_out
    for match, row, record in zip(matches, rows, records, strict=True):
        assert tuple(row[name] for name in match.sprite._fields) == match.sprite
        assert record.caption == world.caption(match.index, seed=3)


def test_captions_are_checked_attribute_by_attribute(source: Path, tmp_path) -> None:
    list(write_sprites(source, tmp_path / "clips", clips=2, suffix=".avi"))
    records = list(ClipFolder(tmp_path / "clips"))
    assert find_check(records) is None  # not without the sheets
    check = find_check(records, sheets=source)
    assert check is not None and check.prompt(records[0], np.random.default_rng(0)) == records[0].caption
    frames_THWC = Clip.read(records[0].path).frames_THWC.numpy()
    assert check.verdict(frames_THWC, records[0]) == dict.fromkeys(Sprite._fields, True)
    wrong = check.verdict(frames_THWC, records[1])
    assert wrong == {name: records[0].fields[name] == records[1].fields[name] for name in Sprite._fields}
    assert not all(wrong.values())


def test_writing_is_all_or_nothing(source: Path, tmp_path) -> None:
    paths = write_sprites(source, tmp_path / "sprites", clips=5, suffix=".avi")
    next(paths)
    paths.close()  # as an interrupt would
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="1 to 420 clips"):
        write_sprites(source, tmp_path / "sprites", clips=421)
    with pytest.raises(ValueError, match="split='test'"):
        write_sprites(source, tmp_path / "sprites", clips=1, split="test")  # type: ignore[arg-type]


def test_incomplete_sources_are_refused(source: Path, tmp_path) -> None:
    with pytest.raises(ValueError, match="attributes.tsv is missing"):
        SpritesWorld(tmp_path)
    (tmp_path / "attributes.tsv").write_text((source / "attributes.tsv").read_text())
    with pytest.raises(ValueError, match="body/0.png is missing"):
        SpritesWorld(tmp_path)
    (tmp_path / "body").mkdir()
    Image.new("RGBA", (64, 64)).save(tmp_path / "body" / "0.png")
    with pytest.raises(ValueError, match="64x64 pixels, not 832x1344"):
        SpritesWorld(tmp_path)
    (tmp_path / "body" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        SpritesWorld(tmp_path)
    (tmp_path / "attributes.tsv").write_text("layer\twords\nbody\tlight skin\n")
    with pytest.raises(ValueError, match="columns layer, index and words"):
        SpritesWorld(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif("VIDEOGPT_DATA" not in os.environ, reason="VIDEOGPT_DATA does not name the real data")
def test_real_sprites() -> None:
    world = SpritesWorld(Path(os.environ["VIDEOGPT_DATA"]) / "lpc_sprites")
    checker = SpritesChecker(world)
    assert len(world) == 68_600
    for index in range(11, len(world), 5003):
        for how in ("as it is", "noise", "blur"):
            match = checker.read(distort(world.clip(index).frames_THWC.numpy(), how))
            assert match.index == index
