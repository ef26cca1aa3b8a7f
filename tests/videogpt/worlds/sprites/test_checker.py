"""The checker of sprites reads the world's own clips, through noise and blur."""

import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from videogpt.worlds.sprites.checker import SpritesChecker
from videogpt.worlds.sprites.sheets import SpriteSheets


@pytest.fixture(scope="module")
def checker(sheets: SpriteSheets) -> SpritesChecker:
    return SpritesChecker(sheets)


def distort(frames: np.ndarray, how: str) -> np.ndarray:
    if how == "noise":
        frames = frames + np.random.default_rng(0).normal(0, 20, frames.shape)
    if how == "blur":
        frames = gaussian_filter(frames.astype(np.float32), (0, 1, 1, 0))
    return np.clip(frames, 0, 255).astype(np.uint8)


def assert_reads_back(checker: SpritesChecker, sheets: SpriteSheets, numbers: range) -> None:
    for index, how in product(numbers, ("as it is", "noise", "blur")):
        match = checker.read(distort(sheets.frames(index), how))
        assert (match.number, match.sprite) == (index, sheets.sprite(index)), how
        assert (match.error < 0.01, match.blur > 0) == (how == "as it is", how == "blur"), how


def test_checker_reads_clips_back(sheets: SpriteSheets, checker: SpritesChecker) -> None:
    assert_reads_back(checker, sheets, range(3, len(sheets), 79))


def test_checker_finds_the_nearest_of_all(sheets: SpriteSheets, checker: SpritesChecker) -> None:
    clips = [sheets.frames(i) for i in range(len(sheets))]
    mixture = np.stack([clips[7], clips[90], clips[333]]).astype(np.float32).mean(axis=0)
    distances = [float(np.square(clip - mixture).mean(dtype=np.float64)) for clip in clips]
    assert checker._nearest(mixture) == np.argmin(distances)


def test_checker_refuses_other_sizes(checker: SpritesChecker) -> None:
    with pytest.raises(ValueError, match=r"\(9, 64, 64, 3\)"):
        checker.read(np.zeros((9, 64, 64, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.skipif("VIDEOGPT_DATA" not in os.environ, reason="VIDEOGPT_DATA does not name the real data")
def test_real_sprites() -> None:
    sheets = SpriteSheets(Path(os.environ["VIDEOGPT_DATA"]) / "lpc_sprites")
    assert len(sheets) == 68_600
    assert_reads_back(SpritesChecker(sheets), sheets, range(11, len(sheets), 5003))
