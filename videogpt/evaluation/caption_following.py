"""Does a sampled clip show what its caption says? For clips of the generated worlds pixels alone can tell.

    check = find_check(records)                            # None: nobody can tell for these clips
    prompt = check.prompt(record, np.random.default_rng(0))
    check.verdict(frames_THWC, record)                     # {"shape": True, "colour": False, ...}

A check knows one world: which columns of the metadata say what a clip shows, and who reads it back.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from videogpt.worlds.shapes.captions import caption
from videogpt.worlds.shapes.checker import agreement, check
from videogpt.worlds.shapes.scene import Scene
from videogpt.worlds.sprites.checker import SpritesChecker
from videogpt.worlds.sprites.scene import Sprite, SpritesWorld
from videogpt_tokenizer.clips.folder import ClipRecord

Frames = NDArray[np.uint8]  # THWC, RGB


class CaptionCheck(Protocol):
    """Reads clips of one world."""

    def prompt(self, record: ClipRecord, rng: np.random.Generator) -> str:
        """A caption that names every attribute."""
        ...

    def verdict(self, frames_THWC: Frames, record: ClipRecord) -> dict[str, bool]:
        """For every attribute, whether the frames show what the record says."""
        ...

    def group(self, record: ClipRecord) -> str:
        """The kind of clip: each has a share of its own, since some are harder than others."""
        ...


class ShapesCheck:
    """Clips of `videogpt world shapes`, by its checker."""

    COLUMNS = ("scene",)

    def prompt(self, record: ClipRecord, rng: np.random.Generator) -> str:
        """The scene in words that leave nothing out, as captions of the data set may."""
        return caption(_scene(record), rng, full=True)

    def verdict(self, frames_THWC: Frames, record: ClipRecord) -> dict[str, bool]:
        """Count, shape, colour, size, motion and background."""
        return agreement(check(frames_THWC), _scene(record))

    def group(self, record: ClipRecord) -> str:
        """By the number of objects."""
        return "one object" if len(_scene(record).objects) == 1 else "two objects"


class SpritesCheck:
    """Clips of `videogpt world sprites`: the nearest of all its clips decides."""

    COLUMNS = Sprite._fields

    def __init__(self, sheets: str | Path) -> None:
        self.checker = SpritesChecker(SpritesWorld(sheets))

    def prompt(self, record: ClipRecord, rng: np.random.Generator) -> str:
        """The caption, which names every attribute."""
        return record.caption

    def verdict(self, frames_THWC: Frames, record: ClipRecord) -> dict[str, bool]:
        """Body, bottomwear, topwear, hair, action and direction."""
        seen = self.checker.read(frames_THWC).sprite
        return {name: getattr(seen, name) == record.fields[name] for name in self.COLUMNS}

    def group(self, record: ClipRecord) -> str:
        """By the action."""
        return str(record.fields["action"])


def find_check(records: Sequence[ClipRecord], sheets: str | Path | None = None) -> CaptionCheck | None:
    """The check that knows all these clips, or None.

    Args:
        records: Clips of one folder.
        sheets: Folder of the sprite sheets, without which sprites are not checked.

    Raises:
        ValueError: the folder of the sprite sheets is incomplete, or given for clips that show no sprites.
    """
    if _have(records, ShapesCheck.COLUMNS):
        return ShapesCheck()
    sprites = _have(records, SpritesCheck.COLUMNS)
    if sheets is not None and not sprites:
        missing = ", ".join(SpritesCheck.COLUMNS)
        raise ValueError(f"sheets is {sheets}, but the clips' metadata lack the columns of sprites ({missing})")
    return SpritesCheck(sheets) if sprites and sheets is not None else None


def _have(records: Sequence[ClipRecord], columns: Sequence[str]) -> bool:
    return all(column in record.fields for record in records for column in columns)


def _scene(record: ClipRecord) -> Scene:
    return Scene.from_json(str(record.fields["scene"]))
