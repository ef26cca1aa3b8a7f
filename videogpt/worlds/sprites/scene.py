"""The sprites world in words: what a clip of it shows, and which characters are held out.

    Sprite("green orc", "brown skirt", "teal shirt", "red hair", "walk", "left")

A character is body, bottomwear, topwear and hair; it does one of five actions in one of four directions. Knows
nothing of pictures.
"""

from typing import NamedTuple

ACTIONS = ("cast", "thrust", "walk", "slash", "shoot")
DIRECTIONS = ("away", "left", "towards", "right")
LAYERS = ("body", "bottomwear", "topwear", "hair")
"""What characters differ in, from the lowest layer to the highest."""


class Sprite(NamedTuple):
    """What is seen in a clip."""

    body: str
    bottomwear: str
    topwear: str
    hair: str
    action: str
    """One of ACTIONS."""
    direction: str
    """One of DIRECTIONS."""


def is_held_out_character(body, bottomwear, topwear, hair):  # type: ignore[no-untyped-def]
    """Whether "train" never shows a character, given by its layers' numbers (integers or arrays of them).

    One in eleven is held out. Every two values of different layers still appear together in training.
    """
    return (body + 2 * bottomwear + 3 * topwear + 4 * hair) % 11 == 0
