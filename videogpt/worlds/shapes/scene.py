"""The shapes world: what a scene is, and how scenes are drawn at random.

    scene = sample_scene(seed=0, index=7)                      # a pure function of its arguments
    scene == Scene.from_json(scene.to_json())

One or two objects move, turn, grow or change colour on a plain background. Two objects keep to lanes of their
own, so that they never overlap, and nothing ever touches the edge of the frame. One (shape, colour) pair in
seven is held out by rule: the "train" split never shows it, every scene of the "held_out" split does.

Refuses what `check_draw` refuses. Knows nothing of pixels, words or files.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from videogpt.worlds.world import NUM_FRAMES, SPLITS, Split, check_draw, pick

Box = tuple[float, float, float, float]  # left, top, right, bottom: bounds of a centre

FRAME_SIZE = 64  # pixels, height and width

SHAPES = ("circle", "square", "triangle", "star")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white")
OBJECT_SIZES = ("small", "medium", "large")
BACKGROUNDS = ("black", "grey", "navy", "brown")
STRAIGHT_MOTIONS = {"moves left": (-1, 0), "moves right": (1, 0), "moves up": (0, -1), "moves down": (0, 1)}
MOTIONS = ("stays still", *STRAIGHT_MOTIONS, "bounces", "spins", "grows", "shrinks", "changes colour")

RADII = {"small": 6.5, "medium": 9.4, "large": 13.5}
"""Pixels. The radius of the circle; the other shapes are scaled to look as large, see REACH."""
REACH = {"circle": 1.0, "square": 1.2, "triangle": 1.3, "star": 1.36}
"""Distance from the centre to the farthest point of a shape, in radii."""

_EDGE = 1.5  # pixels kept free at the edge of the frame
_GAP = 3.0  # pixels kept free between two lanes
_LEAST_TRAVEL = 14.0  # pixels that a moving object travels, at least
_MOST_TRAVEL = 32.0
_LEAST_BOUNCE = 8.0  # pixels between the walls that a bouncing centre meets, at least
_BOUNCE_SPEEDS = (1.2, 2.4)  # pixels per frame, along each axis
_BOUNCE_TIMES = (0.3, 0.7)  # part of the clip after which a wall is met, along one axis at least
_TURNS = (5.0, 8.0)  # degrees per frame of a spinning object
_STEPS = NUM_FRAMES - 1


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """What a caption says of one object."""

    shape: str
    """One of SHAPES."""
    colour: str
    """One of COLOURS: the first colour when the object changes colour."""
    motion: str
    """One of MOTIONS."""
    size: str | None = None
    """One of OBJECT_SIZES; None when the object grows or shrinks."""
    second_colour: str | None = None
    """The last colour when the object changes colour, else None."""

    @property
    def colours(self) -> tuple[str, ...]:
        """Its one colour, or the first and the last."""
        return (self.colour,) if self.second_colour is None else (self.colour, self.second_colour)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (shape, colour) pairs that the object shows."""
        return tuple((self.shape, colour) for colour in self.colours)


@dataclass(frozen=True, kw_only=True)
class Track:
    """Where one object is and how it looks over time. Pixels (x to the right, y down), frames, degrees."""

    start: tuple[float, float]
    """Centre in the first frame."""
    velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels per frame, reflected at the walls of `region`."""
    region: Box
    """Where the centre may be."""
    radius: float
    """Radius in the first frame."""
    last_radius: float
    """Radius in the last frame."""
    angle: float = 0.0
    """Clockwise turn in the first frame."""
    turn: float = 0.0
    """Degrees per frame."""
    colour_change: float = 0.0
    """The frame at which an object that changes colour is half way."""


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object: its attributes and its track."""

    attributes: Attributes
    track: Track


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A whole clip: one or two objects on a background."""

    objects: tuple[SceneObject, ...]
    background: str
    """One of BACKGROUNDS."""

    def to_json(self) -> str:
        """One line from which `from_json` makes an equal scene."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """The scene of `to_json`. Raises ValueError for any other text."""
        try:
            fields = json.loads(text)
            objects = []
            for one in fields["objects"]:
                tuples = {key: tuple(one["track"][key]) for key in ("start", "velocity", "region")}  # lists in JSON
                track = Track(**(one["track"] | tuples))
                objects.append(SceneObject(attributes=Attributes(**one["attributes"]), track=track))
            return cls(objects=tuple(objects), background=fields["background"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a scene of the shapes world, as Scene.to_json() gives: {text[:80]!r}") from error


def is_held_out_pair(shape: str, colour: str) -> bool:
    """Whether the "train" split never shows this pair.

    Colour number 2 s + 1 (mod 7) of shape number s: orange circles, green squares, purple triangles and red
    stars. Each shape lacks one colour and no colour lacks two shapes, so training knows all of them well.
    """
    return COLOURS.index(colour) == (2 * SHAPES.index(shape) + 1) % len(COLOURS)


def sample_scene(seed: int, index: int, split: Split = "train") -> Scene:
    """Draw scene `index` of the endless list that belongs to `seed` and `split`.

    Every scene of "held_out" has at least one object with a held-out pair; no scene of "train" has one.
    """
    rng = draw_rng(seed, index, split, stream=0)
    num_objects = int(rng.integers(1, 3))
    sizes = OBJECT_SIZES if num_objects == 1 else OBJECT_SIZES[:2]
    while True:  # until the objects belong to the split and find room
        looks = [_sample_attributes(rng, sizes) for _ in range(num_objects)]
        if not _belongs(looks, split):
            continue
        radii = [_sample_radii(rng, look, sizes) for look in looks]
        lanes = _sample_lanes(rng, looks, radii)
        if lanes is not None:
            break
    objects = tuple(
        SceneObject(attributes=look, track=_sample_track(rng, look, pair, lane))
        for look, pair, lane in zip(looks, radii, lanes, strict=True)
    )
    return Scene(objects=objects, background=pick(rng, BACKGROUNDS))


def draw_rng(seed: int, index: int, split: Split, stream: int) -> np.random.Generator:
    """Draws the scene (stream 0) or chooses its words (1), so that neither disturbs the other."""
    check_draw(seed, index, split)
    return np.random.default_rng([seed, index, SPLITS.index(split), stream])


def _uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Rounded, so that scenes are short as JSON. Bounds that rounding has crossed count as equal."""
    return round(float(rng.uniform(low, max(low, high))), 3)


def _sample_attributes(rng: np.random.Generator, sizes: tuple[str, ...]) -> Attributes:
    shape = pick(rng, SHAPES)
    motion = pick(rng, tuple(m for m in MOTIONS if not (m == "spins" and shape == "circle")))
    colour = pick(rng, COLOURS)
    size = None if motion in ("grows", "shrinks") else pick(rng, sizes)
    second = pick(rng, tuple(c for c in COLOURS if c != colour)) if motion == "changes colour" else None
    return Attributes(shape=shape, colour=colour, motion=motion, size=size, second_colour=second)


def _belongs(looks: list[Attributes], split: Split) -> bool:
    pairs = [pair for look in looks for pair in look.pairs]
    if len({colour for _, colour in pairs}) < len(pairs):  # two objects never share a colour
        return False
    return any(is_held_out_pair(*pair) for pair in pairs) == (split == "held_out")


def _sample_radii(rng: np.random.Generator, look: Attributes, sizes: tuple[str, ...]) -> tuple[float, float]:
    """Radius in the first and in the last frame."""
    jitter = rng.uniform(0.95, 1.05)
    smallest, largest = round(RADII[sizes[0]] * jitter, 3), round(RADII[sizes[-1]] * jitter, 3)
    if look.size is not None:
        smallest = largest = round(RADII[look.size] * jitter, 3)
    return (smallest, largest) if look.motion == "grows" else (largest, smallest)


def _least_travel(look: Attributes, axis: int) -> float:
    """Pixels that the centre must be free to move along x (axis 0) or y (axis 1)."""
    if look.motion == "bounces":
        return _LEAST_BOUNCE
    return _LEAST_TRAVEL if STRAIGHT_MOTIONS.get(look.motion, (0, 0))[axis] else 0.0


def _sample_lanes(
    rng: np.random.Generator, looks: list[Attributes], radii: list[tuple[float, float]]
) -> list[Box] | None:
    """The bounds of each centre; None when two objects find no room beside each other."""
    low, high = _EDGE, FRAME_SIZE - _EDGE
    reaches = [REACH[look.shape] * max(pair) for look, pair in zip(looks, radii, strict=True)]
    if len(looks) == 1:
        return [_box(low + reaches[0], high - reaches[0], low + reaches[0], high - reaches[0], axis=0)]
    for axis in rng.permutation(2):  # 0: side by side, 1: one above the other
        needs = [2 * reach + _least_travel(look, axis) for look, reach in zip(looks, reaches, strict=True)]
        spare = high - low - _GAP - sum(needs)
        if spare < 0:
            continue
        first = int(rng.integers(2))  # which object is on the left or on top
        wall = low + needs[first] + rng.uniform(0.25, 0.75) * spare
        spans = {first: (low, wall), 1 - first: (wall + _GAP, high)}
        return [
            _box(spans[i][0] + reach, spans[i][1] - reach, low + reach, high - reach, axis=int(axis))
            for i, reach in enumerate(reaches)
        ]
    return None


def _box(low: float, high: float, cross_low: float, cross_high: float, axis: int) -> Box:
    low, high, cross_low, cross_high = (round(value, 3) for value in (low, high, cross_low, cross_high))
    return (low, cross_low, high, cross_high) if axis == 0 else (cross_low, low, cross_high, high)


def _sample_track(rng: np.random.Generator, look: Attributes, radii: tuple[float, float], region: Box) -> Track:
    bounces, spins = look.motion == "bounces", look.motion == "spins"
    start_X, velocity_X = _sample_bounce(rng, region) if bounces else _sample_line(rng, look, region)
    return Track(
        start=(start_X[0], start_X[1]),
        velocity=(velocity_X[0], velocity_X[1]),
        region=region,
        radius=radii[0],
        last_radius=radii[1],
        angle=_uniform(rng, 0, 360) if spins else 0.0,
        turn=_uniform(rng, *_TURNS) * (1 if rng.integers(2) else -1) if spins else 0.0,
        colour_change=_uniform(rng, 6.5, 9.5) if look.motion == "changes colour" else 0.0,
    )


def _sample_line(rng: np.random.Generator, look: Attributes, region: Box) -> tuple[list[float], list[float]]:
    """Start and velocity of a centre that goes one way, or none."""
    start_X, velocity_X = [], []
    for axis, direction in enumerate(STRAIGHT_MOTIONS.get(look.motion, (0, 0))):
        low, high = region[axis], region[axis + 2]
        travel = direction * _uniform(rng, _LEAST_TRAVEL, min(high - low, _MOST_TRAVEL))
        velocity_X.append(round(travel / _STEPS, 4))
        start_X.append(_uniform(rng, low + max(0.0, -travel), high - max(0.0, travel)))
    return start_X, velocity_X


def _sample_bounce(rng: np.random.Generator, region: Box) -> tuple[list[float], list[float]]:
    """Start and velocity of a slanting centre that meets a wall midway through the clip."""
    sure_axis = int(rng.integers(2))  # along the other axis it may meet one at any time, or none
    start_X, velocity_X = [], []
    for axis in range(2):
        low, high = region[axis], region[axis + 2]
        speed = min(_uniform(rng, *_BOUNCE_SPEEDS), 1.9 * (high - low) / _STEPS)  # or it would tremble
        ahead = _uniform(rng, 0, high - low)  # pixels to the wall that it heads for
        if axis == sure_axis:
            ahead = min(_uniform(rng, *_BOUNCE_TIMES) * _STEPS * speed, high - low)
        forwards = bool(rng.integers(2))
        velocity_X.append(round(speed if forwards else -speed, 4))
        start_X.append(round(high - ahead if forwards else low + ahead, 3))
    return start_X, velocity_X
