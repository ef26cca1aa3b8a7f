"""Sprite sheets: the pictures of 3,430 characters x 5 actions x 4 directions, every clip of them by number.

    sheets = SpriteSheets("lpc_sprites")
    sheets.sprite(7)              # Sprite(body="light skin", ...)
    sheets.frames(7)              # uint8, 17 x 64 x 64 x 3

The layers of a character, and shoes that are always the same, are laid over each other on black. The sheets are the
Liberated Pixel Cup's (CC BY-SA 3.0 / GPL 3.0) and no part of this project: the source folder holds `attributes.tsv`
and the pictures `body/0.png`, ..., `shoes/1.png`; it is refused otherwise.
"""

import csv
import os
from pathlib import Path

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image

from videogpt.worlds.sprites.scene import ACTIONS, DIRECTIONS, LAYERS, Sprite
from videogpt.worlds.world import NUM_FRAMES

# V variants of a layer, R rows of a sheet, T frames, H/W height and width, C red, green, blue and alpha

CELL = 64  # pixels, height and width of a cell and of a clip
CELLS = 21, 13
"""Rows and columns of a sheet."""
SHOES = "shoes/1.png"
"""Worn by all, above the other layers."""
BARE = {"bottomwear": "bare legs", "topwear": "bare chest"}
"""What is seen where a garment has no picture for an action, as one of each kind has not."""
FIRST_ROWS = {"cast": 0, "thrust": 4, "walk": 8, "slash": 12, "shoot": 16}
"""Row of a sheet for each action and the first of DIRECTIONS; the others follow."""
NUM_CELLS = {"cast": 7, "thrust": 8, "walk": 9, "slash": 6, "shoot": 13}
"""Cells of an action's row. A clip starts with the first and goes round them."""


class SpriteSheets:
    """All pictures of a source folder, and the words for them."""

    def __init__(self, source: str | os.PathLike[str]) -> None:
        """Read the sheets; ValueError where the folder lacks a file or holds other pictures."""
        folder = Path(source)
        self.words = _read_words(folder / "attributes.tsv")
        """Words for every variant of LAYERS."""
        sheets = {layer: [f"{layer}/{i}.png" for i in range(len(words))] for layer, words in self.words.items()}
        sheets["shoes"] = [SHOES]
        self.cells_VRTHWC: dict[str, NDArray[np.uint8]] = {
            layer: np.stack([_read_sheet(folder / name) for name in names]) for layer, names in sheets.items()
        }
        """The pictures of every layer, of "shoes" too."""
        self.shape = (*(len(self.words[layer]) for layer in LAYERS), len(ACTIONS), len(DIRECTIONS))
        """Values of each attribute, in the order of `Sprite`. Clips are numbered with the last fastest."""

    def __len__(self) -> int:
        return int(np.prod(self.shape))

    def sprite(self, number: int) -> Sprite:
        """What clip `number` shows."""
        *variants, action, direction = self._values(number)
        row = FIRST_ROWS[ACTIONS[action]] + direction
        words = [self._seen(layer, v, row) for layer, v in zip(LAYERS, variants, strict=True)]
        return Sprite(*words, action=ACTIONS[action], direction=DIRECTIONS[direction])

    def number(self, sprite: Sprite) -> int:
        """The first clip that shows a sprite; ValueError if none does."""
        try:
            action, direction = ACTIONS.index(sprite.action), DIRECTIONS.index(sprite.direction)
            row = FIRST_ROWS[sprite.action] + direction
            seen = {layer: [self._seen(layer, v, row) for v in range(len(self.words[layer]))] for layer in LAYERS}
            variants = [seen[layer].index(getattr(sprite, layer)) for layer in LAYERS]
        except ValueError as error:
            raise ValueError(f"no clip of these sprite sheets shows {', '.join(sprite)}") from error
        return int(np.ravel_multi_index((*variants, action, direction), self.shape))

    def frames(self, number: int) -> NDArray[np.uint8]:
        """Paint clip `number`: 17 RGB frames of 64x64."""
        pictures_THWC = self.pictures(number)
        return np.rint(pictures_THWC).astype(np.uint8)[np.arange(NUM_FRAMES) % len(pictures_THWC)]

    def pictures(self, number: int) -> NDArray[np.float32]:
        """The different frames of clip `number`, one for each cell of its action, RGB from 0 to 255."""
        *variants, action, direction = self._values(number)
        cells = self.cells(ACTIONS[action], direction)
        pictures_THWC = np.zeros((NUM_CELLS[ACTIONS[action]], CELL, CELL, 3), np.float32)
        for layer, v in zip((*LAYERS, "shoes"), (*variants, 0), strict=True):
            cells_THWC = cells[layer][v]
            alpha_THWC = cells_THWC[..., 3:].astype(np.float32) / 255
            pictures_THWC += alpha_THWC * (cells_THWC[..., :3] - pictures_THWC)
        return pictures_THWC

    def cells(self, action: str, direction: int) -> dict[str, NDArray[np.uint8]]:
        """The pictures of an action in one of DIRECTIONS, VTHWC, for each layer and "shoes"."""
        row, count = FIRST_ROWS[action] + direction, NUM_CELLS[action]
        return {layer: cells_VRTHWC[:, row, :count] for layer, cells_VRTHWC in self.cells_VRTHWC.items()}

    def _seen(self, layer: str, variant: int, row: int) -> str:
        words = self.words[layer][variant]
        return words if self.cells_VRTHWC[layer][variant, row].any() else BARE.get(layer, words)

    def _values(self, number: int) -> tuple[int, ...]:
        if not 0 <= number < len(self):
            raise IndexError(f"clip {number} is not one of {len(self)}")
        return tuple(int(i) for i in np.unravel_index(number, self.shape))


def _read_words(path: Path) -> dict[str, list[str]]:
    """The table of words: columns layer, index (0, 1, ... in each layer) and words."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        words = {layer: [row["words"] for row in rows if row["layer"] == layer] for layer in LAYERS}
        orders = {layer: [int(row["index"]) for row in rows if row["layer"] == layer] for layer in LAYERS}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: give the folder of the sprite sheets as source") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a table with the columns layer, index and words: {error}") from error
    for layer, order in orders.items():
        if not order or order != list(range(len(order))):
            raise ValueError(f"{path} must list the variants of {layer} as 0, 1, ..., not {order}")
    return words


def _read_sheet(path: Path) -> NDArray[np.uint8]:
    """RTHWC, with colour 0 where nothing is drawn."""
    try:
        with Image.open(path) as picture:
            sheet_HWC = np.array(picture.convert("RGBA"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: the sprite sheets are not complete") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a picture ({error})") from error
    (height, width, _), (rows, columns) = sheet_HWC.shape, CELLS
    if (height, width) != (rows * CELL, columns * CELL):
        expected = f"{columns * CELL}x{rows * CELL}: is it a sheet of the Liberated Pixel Cup?"
        raise ValueError(f"{path} is {width}x{height} pixels, not {expected}")
    sheet_HWC[sheet_HWC[..., 3] == 0] = 0
    return rearrange(sheet_HWC, "(r h) (t w) c -> r t h w c", h=CELL, w=CELL)
