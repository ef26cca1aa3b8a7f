"""A small source of random sprite sheets stands in for the real one, tested where VIDEOGPT_DATA names its folder."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videogpt.worlds.sprites.sheets import CELL, CELLS, SpriteSheets
from videogpt.worlds.sprites.world import SpritesWorld

WORDS = {
    "body": ("light skin", "green orc"),
    "bottomwear": ("white trousers", "brown skirt"),
    "topwear": ("teal shirt", "chain mail"),
    "hair": ("red hair", "blue topknot", "white hair"),
}
AREAS = {"body": (8, 48), "bottomwear": (34, 48), "topwear": (22, 36), "hair": (8, 20), "shoes": (46, 52)}


def random_sheet(rng: np.random.Generator, top: int, bottom: int) -> np.ndarray:
    """A patch of one colour with spots in every cell, jumping about from cell to cell."""
    rows, columns = CELLS
    sheet = np.zeros((rows * CELL, columns * CELL, 4), np.uint8)
    colour = rng.integers(40, 256, 3)
    for row, column in itertools.product(range(rows), range(columns)):
        left = 14 + (7 * row + 5 * column) % 20
        y, x = row * CELL + top + row % 4, column * CELL + left
        patch = sheet[y : y + bottom - top, x : x + 16]
        patch[..., :3] = colour * rng.choice([0.3, 1.0], (*patch.shape[:2], 1), p=[0.2, 0.8])
        patch[..., 3] = 255
    return sheet


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def sprites(source: Path) -> SpritesWorld:
    return SpritesWorld(source)


@pytest.fixture(scope="session")
def sheets(sprites: SpritesWorld) -> SpriteSheets:
    return sprites.sheets
