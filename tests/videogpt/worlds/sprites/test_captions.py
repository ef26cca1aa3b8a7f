"""Captions of the sprites world: everything that is seen, true, in several wordings."""

import re

import numpy as np

from videogpt.worlds.sprites.captions import sprite_caption
from videogpt.worlds.sprites.scene import LAYERS
from videogpt.worlds.sprites.sheets import SpriteSheets


def caption(sheets: SpriteSheets, number: int, seed: int = 0) -> str:
    return sprite_caption(sheets.sprite(number), np.random.default_rng([seed, number]))


def test_captions_say_what_is_seen(sheets: SpriteSheets) -> None:
    for index in range(len(sheets)):
        sprite, text = sheets.sprite(index), caption(sheets, index)
        teal, bare = "teal shirt" in text, sprite.topwear == "bare chest"
        assert bare == (sprite.action == "thrust" and not teal)
        assert bare == ("bare-chested in" in text)
        assert all(words in text for words in sprite[: len(LAYERS)] if words != "bare chest")
        assert ("a blue topknot" in text) == (sprite.hair == "blue topknot")
        assert ("left" in text) == (sprite.direction == "left")
        assert bool(re.search("walks|strides", text)) == (sprite.action == "walk")


def test_wording_varies_with_the_seed(sheets: SpriteSheets) -> None:
    wordings = {caption(sheets, 7, seed) for seed in range(50)}
    assert len(wordings) > 10
    assert caption(sheets, 7) == caption(sheets, 7, 0) in wordings
