"""The sprites world: 3,430 characters x 5 actions x 4 directions, every clip and every word of it known.

    world = SpritesWorld("lpc_sprites")      # a folder of sprite sheets, see below
    world.clip(7).write("sprite.mp4")
    world.caption(7)       # "a person with light skin and green spiky hair, wearing a maroon shirt and ..."
    for path in write_sprites("lpc_sprites", "data/sprites", clips=5000):
        ...                                  # one path per finished clip: feed a progress bar

    data/sprites/metadata.csv         file_name, caption, and a column for each attribute
    data/sprites/clips/000000.mp4     H.264, 17 frames of 64x64 at 8 per second

A character is body, bottomwear, topwear and hair, and shoes that are always the same, laid over each other
on black. One in eleven is held out by rule. The benchmark is that of Li and Mandt 2018 (arXiv:1803.02991),
with more actions. The sheets are the Liberated Pixel Cup's (CC BY-SA 3.0 / GPL 3.0) and no part of this
project: the source folder holds `attributes.tsv` and the pictures `body/0.png`, ..., `shoes/1.png`; it is
refused otherwise.
"""

import csv
import os
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image

from videogpt.worlds.shapes.scene import SPLITS, Split
from videogpt.worlds.sprites.captions import caption
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.files.whole_folder import whole_folder

# V variants of a layer, R rows of a sheet, T frames, H/W height and width, C red, green, blue and alpha

CELL = 64  # pixels, height and width of a cell and of a clip
COLUMNS, ROWS = 13, 21  # cells of a sheet
NUM_FRAMES = 17
FPS = 8.0


class Action(NamedTuple):
    """Where the sheets have an action."""

    first_row: int
    """Followed by a row for each of DIRECTIONS."""
    num_frames: int
    """Cells of a row. A clip starts with the first and goes round them."""


ACTIONS = {
    "cast": Action(0, 7),
    "thrust": Action(4, 8),
    "walk": Action(8, 9),
    "slash": Action(12, 6),
    "shoot": Action(16, 13),
}
DIRECTIONS = ("away", "left", "towards", "right")
LAYERS = ("body", "bottomwear", "topwear", "hair")
"""What characters differ in, from the lowest layer to the highest."""
SHOES = "shoes/1.png"
"""Worn by all, above the other layers."""
BARE = {"bottomwear": "bare legs", "topwear": "bare chest"}
"""What is seen where a garment has no picture for an action, as one of each kind has not."""


class Sprite(NamedTuple):
    """What is seen in a clip, in words."""

    body: str
    bottomwear: str
    topwear: str
    hair: str
    action: str
    """A key of ACTIONS."""
    direction: str
    """One of DIRECTIONS."""


class SpritesWorld:
    """All clips of the world by number: a pure function of the source folder."""

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

    def split(self, split: Split) -> NDArray[np.int64]:
        """Numbers of the clips of "train" or "held_out", ascending; ValueError for another name."""
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown: choose one of {', '.join(SPLITS)}")
        held_out = is_held_out(*np.unravel_index(np.arange(len(self)), self.shape)[: len(LAYERS)])
        return np.flatnonzero(held_out == (split == "held_out"))

    def sprite(self, index: int) -> Sprite:
        """What clip `index` shows."""
        *variants, action, direction = self._place(index)
        row = self.row(action, direction)
        words = [
            self.words[layer][v] if self.cells_VRTHWC[layer][v, row].any() else BARE[layer]
            for layer, v in zip(LAYERS, variants, strict=True)
        ]
        return Sprite(*words, action=list(ACTIONS)[action], direction=DIRECTIONS[direction])

    def caption(self, index: int, seed: int = 0) -> str:
        """Clip `index` in words; another seed gives other wordings of the same."""
        return caption(self.sprite(index), np.random.default_rng([seed, index]))

    def clip(self, index: int) -> Clip:
        """Paint clip `index`: 17 frames of 64x64 at 8 per second."""
        pictures_THWC = self.pictures(index)
        frames_THWC = np.rint(pictures_THWC).astype(np.uint8)[np.arange(NUM_FRAMES) % len(pictures_THWC)]
        return Clip(torch.from_numpy(frames_THWC), FPS)

    def pictures(self, index: int) -> NDArray[np.float32]:
        """The different frames of clip `index`, one for each cell of its action, RGB from 0 to 255."""
        *variants, action, direction = self._place(index)
        row, count = self.row(action, direction), self.num_frames(action)
        pictures_THWC = np.zeros((count, CELL, CELL, 3), np.float32)
        for layer, v in zip((*LAYERS, "shoes"), (*variants, 0), strict=True):
            cells_THWC = self.cells_VRTHWC[layer][v, row, :count]
            alpha_THWC = cells_THWC[..., 3:].astype(np.float32) / 255
            pictures_THWC += alpha_THWC * (cells_THWC[..., :3] - pictures_THWC)
        return pictures_THWC

    def row(self, action: int, direction: int) -> int:
        """Row of the sheets of an action and direction, both by number."""
        return list(ACTIONS.values())[action].first_row + direction

    def num_frames(self, action: int) -> int:
        """Cells of an action, by number."""
        return list(ACTIONS.values())[action].num_frames

    def _place(self, index: int) -> tuple[int, ...]:
        if not 0 <= index < len(self):
            raise IndexError(f"clip {index} is not one of {len(self)}")
        return tuple(int(i) for i in np.unravel_index(index, self.shape))


def is_held_out(body, bottomwear, topwear, hair):  # type: ignore[no-untyped-def]
    """Whether "train" never shows a character, given by its layers' numbers (integers or arrays of them).

    Every two values of different layers still appear together in training.
    """
    return (body + 2 * bottomwear + 3 * topwear + 4 * hair) % 11 == 0


def write_sprites(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    clips: int,
    seed: int = 0,
    split: Split = "train",
    suffix: str = ".mp4",
) -> Generator[Path, None, None]:
    """Write different clips, chosen at random, yielding the final path of each as it is done.

    Args:
        source: Folder of the sprite sheets.
        output: The folder to make; it may exist if it is empty. It appears complete, or not at all.
        clips: How many clips, from 1 to all of the split.
        seed: Of the choice and of the wordings.
        split: "train", or "held_out" for characters that training never shows.
        suffix: ".mp4" halves the resolution of colours (31 dB against the pictures); ".avi" is lossless and
            six times larger.

    Raises:
        ValueError: at once, before any clip is made, when the source is incomplete or a number is out of
            range; at the first clip when the output is not empty or the suffix unknown.
        OSError: the output cannot be written.
    """
    world = SpritesWorld(source)
    numbers = world.split(split)
    if not 1 <= clips <= len(numbers):
        raise ValueError(f"clips={clips}: the split {split!r} has 1 to {len(numbers)} clips")
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")
    chosen = np.random.default_rng(seed).permutation(numbers)[:clips].tolist()
    return _write(world, Path(output), chosen, seed, suffix)


def _write(
    world: SpritesWorld, folder: Path, numbers: list[int], seed: int, suffix: str
) -> Generator[Path, None, None]:
    with whole_folder(folder) as partial:
        (partial / "clips").mkdir()
        with open(partial / "metadata.csv", "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("file_name", "caption", *Sprite._fields))
            for i, number in enumerate(numbers):
                name = f"clips/{i:06d}{suffix}"
                world.clip(number).write(partial / name, crf=10)
                table.writerow((name, world.caption(number, seed), *world.sprite(number)))
                yield folder / name


def _read_words(path: Path) -> dict[str, list[str]]:
    """The table of words: columns layer, index (0, 1, ... in each layer) and words."""
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
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
    height, width, _ = sheet_HWC.shape
    if (height, width) != (ROWS * CELL, COLUMNS * CELL):
        raise ValueError(
            f"{path} is {width}x{height} pixels, not {COLUMNS * CELL}x{ROWS * CELL}: "
            "is it a sheet of the Liberated Pixel Cup?"
        )
    sheet_HWC[sheet_HWC[..., 3] == 0] = 0
    return rearrange(sheet_HWC, "(r h) (t w) c -> r t h w c", h=CELL, w=CELL)
