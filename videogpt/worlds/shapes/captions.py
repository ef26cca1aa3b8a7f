"""Captions of the shapes world: a scene in words, always true, worded in many ways.

    shapes_caption(scene, rng)               # "on a navy background, a little red disc is sliding left"
    shapes_caption(scene, rng, full=True)    # the same, but never leaves out a size or the background

Lower case, no full stop. Every synonym stands for one attribute only, so that a full caption fits no other
scene. Knows nothing of pixels.
"""

import numpy as np

from videogpt.worlds.shapes.scene import Attributes, Scene
from videogpt.worlds.world import pick

OMITTED = 0.15
"""How often the sizes, and how often the background, go unnamed when the caption need not be full."""
_TERSE = 0.15  # how often a caption has no articles: "red circle moving left, black background"

_SHAPES = {"circle": ("circle", "circle", "disc")}
_COLOURS = {"purple": ("purple", "purple", "violet")}
_SIZES = {
    "small": ("small", "small", "little"),
    "medium": ("medium", "medium-sized"),
    "large": ("large", "large", "big"),
}
_BACKGROUNDS = {"grey": ("grey", "gray"), "navy": ("navy", "navy", "dark blue")}

_VERBS_OF_MOTIONS = {  # finite verb and participle
    "stays still": (("stays still", "staying still"), ("does not move", "not moving")),
    "bounces": (("bounces", "bouncing"), ("bounces around", "bouncing around")),
    "spins": (("spins", "spinning"), ("rotates", "rotating")),
    "grows": (("grows", "growing"), ("gets bigger", "getting bigger")),
    "shrinks": (("shrinks", "shrinking"), ("gets smaller", "getting smaller")),
}
_GOES = (("moves", "moving"), ("moves", "moving"), ("slides", "sliding"), ("goes", "going"))


def shapes_caption(scene: Scene, rng: np.random.Generator, full: bool = False) -> str:
    """Put a scene into words; the same state of `rng` gives the same words.

    `full` names every size and the background. Otherwise each is sometimes left out, as people do.
    """
    with_size = full or rng.random() >= OMITTED
    with_background = full or rng.random() >= OMITTED
    terse = rng.random() < _TERSE
    tense = "participle" if terse else pick(rng, ("finite", "finite", "progressive"))
    order = rng.permutation(len(scene.objects))
    clauses = [_clause(scene.objects[i].attributes, rng, with_size, tense) for i in order]
    text = (" and " if terse else pick(rng, (" and ", " and ", " while "))).join(clauses)
    if not with_background:
        return text
    background = _word(scene.background, _BACKGROUNDS, rng)
    if terse:
        return f"{text}, {background} background"
    place = f"on a {background} background"
    return f"{place}, {text}" if rng.random() < 0.25 else f"{text} {place}"


def _clause(look: Attributes, rng: np.random.Generator, with_size: bool, tense: str) -> str:
    """Subject and verb. The article is there unless the verb is a bare participle."""
    changes = look.second_colour is not None
    turns = changes and bool(rng.integers(2))  # "a red star turns blue" or "a star changes from red to blue"
    words = [_word(look.size, _SIZES, rng)] if with_size and look.size else []
    if turns or not changes:
        words.append(_word(look.colour, _COLOURS, rng))
    words.append(_word(look.shape, _SHAPES, rng))
    if tense != "participle":
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    finite, participle = _verb(look, rng, turns)
    words.append({"finite": finite, "progressive": f"is {participle}", "participle": participle}[tense])
    return " ".join(words)


def _verb(look: Attributes, rng: np.random.Generator, turns: bool) -> tuple[str, str]:
    if look.second_colour is not None:
        second = _word(look.second_colour, _COLOURS, rng)
        if turns:
            return f"turns {second}", f"turning {second}"
        change = f"from {_word(look.colour, _COLOURS, rng)} to {second}"
        return f"changes {change}", f"changing {change}"
    if look.motion in _VERBS_OF_MOTIONS:
        return pick(rng, _VERBS_OF_MOTIONS[look.motion])
    direction = look.motion.removeprefix("moves ")
    finite, participle = pick(rng, _GOES)
    if direction in ("left", "right") and rng.random() < 0.25:
        direction = f"to the {direction}"
    return f"{finite} {direction}", f"{participle} {direction}"


def _word(name: str, synonyms: dict[str, tuple[str, ...]], rng: np.random.Generator) -> str:
    return pick(rng, synonyms.get(name, (name,)))
