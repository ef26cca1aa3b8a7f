"""Captions of the sprites world: every attribute in words, always true, worded in several ways.

    sprite_caption(sprite, rng)      # "facing left, a green orc with red hair, bare-chested in a brown skirt, stabs"

Lower case, no full stop. Knows nothing of pixels.
"""

import numpy as np

from videogpt.worlds.sprites.scene import Sprite
from videogpt.worlds.world import pick

_VERBS_OF_ACTIONS = {
    "cast": ("casts a spell", "works magic"),
    "thrust": ("thrusts", "stabs"),
    "walk": ("walks", "strides"),
    "slash": ("slashes", "swings a blade"),
    "shoot": ("shoots an arrow", "draws a bow"),
}
_FACING = {
    "away": ("facing away", "seen from behind"),
    "left": ("facing left", "turned to the left"),
    "towards": ("facing the viewer", "seen from the front"),
    "right": ("facing right", "turned to the right"),
}
_ORDERS = (
    "{person}, {clothes}, {verb} {facing}",
    "{person} {verb} {facing}, {clothes}",
    "{facing}, {person}, {clothes}, {verb}",
    "{clothes}, {person} {verb} {facing}",
)
_WITHOUT_ARTICLE = ("skin", "hair", "trousers", "armour", "mail")


def sprite_caption(sprite: Sprite, rng: np.random.Generator) -> str:
    """Put a sprite into words; the same state of `rng` gives the same words."""
    who = f"person with {sprite.body} and" if sprite.body.endswith("skin") else f"{sprite.body} with"
    return pick(rng, _ORDERS).format(
        person=f"a {who} {_some(sprite.hair)}",
        clothes=_clothes(sprite),
        verb=pick(rng, _VERBS_OF_ACTIONS[sprite.action]),
        facing=pick(rng, _FACING[sprite.direction]),
    )


def _clothes(sprite: Sprite) -> str:
    legs, chest = sprite.bottomwear, sprite.topwear
    if legs == "bare legs" and chest == "bare chest":
        return "wearing only shoes"
    if legs == "bare legs":
        return f"bare-legged in {_some(chest)}"
    if chest == "bare chest":
        return f"bare-chested in {_some(legs)}"
    return f"wearing {_some(chest)} and {_some(legs)}"


def _some(words: str) -> str:
    """With the article that the words need."""
    return words if words.endswith(_WITHOUT_ARTICLE) else f"a {words}"
