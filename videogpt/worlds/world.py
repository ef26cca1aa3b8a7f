"""A world makes clips of which everything is known: what they show, how that is said, and how to read it back.

    world = WORLDS["shapes"].make()                  # or WORLDS["sprites"].make("lpc_sprites")
    scene = world.scene(seed=0, index=7)
    clip, text = world.render(scene), world.caption(scene, world.caption_rng(seed=0, index=7))
    world.verdict(clip.frames_THWC.numpy(), scene)   # {"shape": True, "colour": True, ...}

A new world is a class with the methods of `World` and a line in WORLDS. Light to import: the modules of a world are
imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, get_args

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

    from videogpt_tokenizer.clips.clip import Clip
    from videogpt_tokenizer.clips.folder import ClipRecord

Split = Literal["train", "held_out"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Scenes of "held_out" show combinations that no scene of "train" shows."""
NUM_FRAMES, FPS = 17, 8.0
"""Length and rate of the clips of both generated worlds."""

_Scene = TypeVar("_Scene")
Choice = TypeVar("Choice")


class World(Protocol[_Scene]):
    """Scenes of one kind. Everything drawn at random is a pure function of seed, index and split."""

    columns: ClassVar[tuple[str, ...]]
    """Columns of a folder's metadata that say what a clip shows, beside its file and its caption."""

    def num_scenes(self, split: Split) -> int | None:
        """How many scenes a split has for one seed; None if they never end."""
        return None

    def scene(self, seed: int, index: int, split: Split = "train") -> _Scene:
        """Scene `index` of the list that belongs to seed and split; ValueError as by `check_draw`."""
        ...

    def caption_rng(self, seed: int, index: int, split: Split = "train") -> "np.random.Generator":
        """Chooses the words of that scene's caption."""
        ...

    def render(self, scene: _Scene) -> "Clip":
        """Paint a scene."""
        ...

    def caption(self, scene: _Scene, rng: "np.random.Generator") -> str:
        """A scene in words, always true; it may leave something out, as people do."""
        ...

    def fields(self, scene: _Scene) -> dict[str, str]:
        """What the metadata say of a scene, for each of `columns`."""
        ...

    def scene_of(self, record: "ClipRecord") -> _Scene:
        """The scene of a written clip, from its metadata: the inverse of `fields`."""
        ...

    def full_caption(self, record: "ClipRecord", rng: "np.random.Generator") -> str:
        """A caption of a written clip that names every attribute."""
        ...

    def verdict(self, frames_THWC: "NDArray[np.uint8]", scene: _Scene) -> dict[str, bool]:
        """For every attribute, whether the frames (RGB) show it as the scene has it."""
        ...

    def group(self, scene: _Scene) -> str:
        """The kind of scene: some kinds are harder than others, so each has a figure of its own."""
        ...


class _Entry(NamedTuple):
    """Where a world is, and what the command says of it."""

    place: str
    """Module in this package, and class."""
    help: str
    source: str | None = None
    """What the folder holds that the world is made from; None if it needs none."""

    def load(self) -> Any:
        """The world's class."""
        module, name = self.place.rsplit(".", 1)
        return getattr(import_module(f"videogpt.worlds.{module}"), name)

    def make(self, source: "str | os.PathLike[str] | None" = None) -> World[Any]:
        """The world; ValueError if its source is incomplete."""
        return self.load()() if self.source is None else self.load()(source)


WORLDS = {
    "shapes": _Entry("shapes.world.ShapesWorld", "shapes that move, turn, grow and change colour, with a checker"),
    "sprites": _Entry(
        "sprites.world.SpritesWorld",
        "68,600 clips of characters, put together from sprite sheets",
        source="folder of the sprite sheets",
    ),
}


def check_draw(seed: int, index: int, split: Split) -> None:
    """Raises ValueError for an unknown split or a negative seed or index."""
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown: choose one of {', '.join(SPLITS)}")
    for name, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise ValueError(f"{name}={value} must not be negative")


def pick(rng: "np.random.Generator", choices: tuple[Choice, ...]) -> Choice:
    """One of the choices, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]
