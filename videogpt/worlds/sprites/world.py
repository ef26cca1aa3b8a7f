"""The sprites world as a `World`: 68,600 clips of characters, every word of them known.

    world = SpritesWorld("lpc_sprites")                    # a folder of sprite sheets, see sheets.py
    world.render(world.scene(seed=0, index=7)).write("sprite.mp4")     # 17 frames of 64x64 at 8 per second

The benchmark is that of Li and Mandt 2018 (arXiv:1803.02991), with more actions.
"""

import os
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from videogpt.worlds.sprites.captions import sprite_caption
from videogpt.worlds.sprites.checker import SpritesChecker
from videogpt.worlds.sprites.scene import LAYERS, Sprite, is_held_out_character
from videogpt.worlds.sprites.sheets import SpriteSheets
from videogpt.worlds.world import FPS, Split, World, check_draw
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.folder import ClipRecord


class SpritesWorld(World[Sprite]):
    """One character, one action; the metadata have a column for each attribute. No clip comes twice for a seed."""

    columns = Sprite._fields

    def __init__(self, source: str | os.PathLike[str]) -> None:
        """Read the sheets; ValueError where the folder lacks a file or holds other pictures."""
        self.sheets = SpriteSheets(source)
        self._shuffled = lru_cache(maxsize=1)(self._shuffle)

    def numbers(self, split: Split) -> NDArray[np.int64]:
        """Numbers of a split's clips, ascending."""
        characters = np.unravel_index(np.arange(len(self.sheets)), self.sheets.shape)[: len(LAYERS)]
        return np.flatnonzero(is_held_out_character(*characters) == (split == "held_out"))

    def num_scenes(self, split: Split) -> int:
        return len(self.numbers(split))

    def scene(self, seed: int, index: int, split: Split = "train") -> Sprite:
        return self.sheets.sprite(self._number(seed, index, split))

    def caption_rng(self, seed: int, index: int, split: Split = "train") -> np.random.Generator:
        return np.random.default_rng([seed, self._number(seed, index, split)])

    def render(self, scene: Sprite) -> Clip:
        return Clip(torch.from_numpy(self.sheets.frames(self.sheets.number(scene))), FPS)

    def caption(self, scene: Sprite, rng: np.random.Generator) -> str:
        return sprite_caption(scene, rng)

    def fields(self, scene: Sprite) -> dict[str, str]:
        return scene._asdict()

    def scene_of(self, record: ClipRecord) -> Sprite:
        return Sprite(*(str(record.fields[column]) for column in self.columns))

    def full_caption(self, record: ClipRecord, rng: np.random.Generator) -> str:
        """The clip's own, which leaves nothing out."""
        return record.caption

    def verdict(self, frames_THWC: NDArray[np.uint8], scene: Sprite) -> dict[str, bool]:
        """Body, bottomwear, topwear, hair, action and direction: the nearest of all clips decides."""
        seen = self._checker.read(frames_THWC).sprite
        return {name: getattr(seen, name) == getattr(scene, name) for name in self.columns}

    def group(self, scene: Sprite) -> str:
        return scene.action

    @cached_property
    def _checker(self) -> SpritesChecker:
        return SpritesChecker(self.sheets)

    def _number(self, seed: int, index: int, split: Split) -> int:
        check_draw(seed, index, split)
        numbers = self._shuffled(seed, split)
        if index >= len(numbers):
            raise ValueError(f"index={index}: the split {split!r} has {len(numbers)} clips")
        return int(numbers[index])

    def _shuffle(self, seed: int, split: Split) -> NDArray[np.int64]:
        return np.random.default_rng(seed).permutation(self.numbers(split))
