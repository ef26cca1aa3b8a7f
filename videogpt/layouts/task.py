"""Tasks: what is given, what is predicted, and in which order. A task is one file in this folder.

    task = find_task("text_to_video")(config)           # the class in layouts/text_to_video.py
    sequence = task.pack(examples)                       # to train on
    prompt = task.prompt(examples, latent_frames=5)      # to sample from: what is read first, and what is then drawn

Network, loss and sampler never ask which task it is. A task is found by the name of its file, without any table.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.raster import Raster
from videogpt.layouts.sequence import TokenSequence, TrainingSequence
from videogpt.layouts.vocabulary import Vocabulary

# B sequences, M tokens to be drawn, T/H/W latent grid, 3 the axes (t, h, w)

NO_TASKS = ("__init__", "config", "guesses", "masks", "raster", "sequence", "task", "vocabulary")
"""Files of this folder that hold what tasks are made of."""
TO_DRAW = -1
"""In place of a code that is not known."""
LOSS_WEIGHTS = {"text": 0.1, "video": 1.0}
"""Weight of predicting a token of each modality, where nothing else is said."""


class Example(NamedTuple):
    """What is known of one clip: all of it in training, what is given when sampling."""

    text: list[int]
    """Ids of the text tokenizer, of the caption or the prompt."""
    codes_THW: Tensor | None = None
    """int64; None where all are to be drawn. When sampling, `TO_DRAW` where one is, and later frames may be missing."""
    read_THW: Tensor | None = None
    """In training, what the network reads in place of the codes that it is to predict; None: these codes."""
    prefix_codes: Mapping[str, Tensor] = MappingProxyType({})
    """Codes (T, H, W) that are read before the clip, by what they stand for, one of `PREFIX_CODES`; `TO_DRAW` where
    there is none. Given ones are drawn as they are and not learned."""

    def without_text(self) -> "Example":
        """The same with an empty caption: guidance steers away from what the model then predicts."""
        return self._replace(text=[])


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is given, and what is to be drawn, in order."""

    given: TokenSequence
    """Rows to read first; the logits of the last are those of the first token to be drawn. Its visibility is that of
    the whole sequence."""
    modality: str
    """Of the tokens to be drawn."""
    places: Sequence[int]
    """The place of each in the raster scan, in the order of drawing: noise and codes belong to places."""
    positions_1M3: Tensor
    """int64 positions of their rows."""
    forced_BM: Tensor | None = None
    """int64 tokens that are known beforehand, `TO_DRAW` where one is to be drawn; None: all are."""


class Task(ABC):
    """One way to lay out a sequence, of one set of sizes."""

    prefix_codes: ClassVar[tuple[str, ...]] = ()
    """What the task puts before the clip beside text; the layout has to have ids for it."""
    answers: ClassVar[tuple[str, ...]] = ()
    """What a model that was trained for it can be asked for; see `Request.task`."""

    def __init__(self, config: LayoutConfig) -> None:
        """ValueError for rules under which a row would see what it is to predict, or a layout that lacks ids."""
        self.config = config
        missing = [kind for kind in self.prefix_codes if kind not in config.prefix_codes]
        if missing:
            raise ValueError(f"the layout has no ids for {missing[0]} codes, which task {self.name} reads: add it")
        sizes = {"text": config.text_vocab_size, "video": config.codebook_size}
        self.vocabulary = Vocabulary(sizes, read_only=dict.fromkeys(config.prefix_codes, config.codebook_size))
        self.raster = Raster(config.latent_height, config.latent_width)

    @property
    def name(self) -> str:
        """The name of the task's file."""
        return type(self).__module__.rpartition(".")[2]

    def shown(self, example: Example, draw: np.random.Generator) -> Example:
        """A clip as training shows it: with what the task gives of it, drawn at random; by default all as it is."""
        return example

    @abstractmethod
    def pack(
        self,
        examples: Sequence[Example],
        *,
        loss_weights: Mapping[str, float] = LOSS_WEIGHTS,
        without_padding: bool = False,
    ) -> TrainingSequence:
        """Examples as sequences for training and validation, on the CPU.

        Args:
            examples: One or more, whose codes are of one shape.
            loss_weights: Weight of predicting a token of each modality.
            without_padding: Put all examples into one sequence, one document after the other, each of which sees only
                itself; else each is a sequence of its own, padded to the longest.

        Raises:
            ValueError: another grid, a token that is not its modality's, or no example.
        """

    @abstractmethod
    def prompt(self, examples: Sequence[Example], latent_frames: int) -> Prompt:
        """What sampling reads and then draws for each example, on the CPU.

        Args:
            examples: One or more.
            latent_frames: Length of the clips, 1 to the layout's number.

        Raises:
            ValueError: a token that is not its modality's, or no example.
        """

    def forced(self, examples: Sequence[Example], latent_frames: int) -> Tensor | None:
        """The codes that examples give, (B, all places of so many frames), `TO_DRAW` elsewhere; None: nobody gives any.

        ValueError: another grid, more frames than are asked for, or a code that the codebook does not have.
        """
        given = [[x for x in (own.codes_THW, own.prefix_codes.get("given")) if x is not None] for own in examples]
        if not any(given):
            return None
        config = self.config
        shape = (latent_frames, config.latent_height, config.latent_width)
        forced_BTHW = torch.full((len(examples), *shape), TO_DRAW)
        for known_THW, parts in zip(forced_BTHW, given, strict=True):
            for given_THW in parts:
                self.check_codes(given_THW, latent_frames)
                place = known_THW[: len(given_THW)]
                place.copy_(given_THW.where(given_THW != TO_DRAW, place))
        return self.raster.flatten(forced_BTHW)

    def check_codes(self, codes_THW: Tensor, latent_frames: int) -> None:
        """ValueError for codes of part of a clip that are of another grid, of more frames, or not in the codebook."""
        config, found = self.config, tuple(codes_THW.shape)
        shape = (latent_frames, config.latent_height, config.latent_width)
        if len(found) != 3 or found[0] > latent_frames or found[1:] != shape[1:]:
            raise ValueError(
                f"given codes are of shape {found}, the clip takes {shape}, or fewer frames: encode one of "
                "the size that the model makes"
            )
        self.vocabulary.check("video", codes_THW[codes_THW != TO_DRAW], "code", "codebook_size")

    def codes_of(self, examples: Sequence[Example]) -> Tensor:
        """The codes of examples, (B, T, H, W), on the CPU; ValueError for none, or for another grid or codebook."""
        if not examples:
            raise ValueError("there is no example: give at least one")
        codes, config = [], self.config
        frames, height, width = config.latent_frames, config.latent_height, config.latent_width
        for example in examples:
            assert example.codes_THW is not None, "to train, codes are given"
            found = tuple(example.codes_THW.shape)
            if len(found) != 3 or not 1 <= found[0] <= frames or found[1:] != (height, width):
                raise ValueError(
                    f"codes are of shape {found}, the layout takes (1 to {frames}, {height}, {width}): "
                    "tokenize clips of the size and length that the model is made for"
                )
            self.vocabulary.check("video", example.codes_THW, "code", "codebook_size")
            codes.append(example.codes_THW)
        return torch.stack(codes).cpu()

    def read_of(self, examples: Sequence[Example]) -> Tensor:
        """What the network reads in place of the codes of examples, (B, T, H, W); refuses what `codes_of` refuses."""
        return self.codes_of([x if x.read_THW is None else x._replace(codes_THW=x.read_THW) for x in examples])


def known_tasks() -> list[str]:
    """Names of the tasks."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_TASKS)


def find_task(name: str) -> type[Task]:
    """The class of a task. Raises ValueError where there is none of that name."""
    if name not in known_tasks():
        raise ValueError(f"there is no task {name!r}: choose {', '.join(known_tasks())}")
    module = import_module(f"videogpt.layouts.{name}")
    classes = (x for x in vars(module).values() if isinstance(x, type) and x.__module__ == module.__name__)
    (task,) = (kind for kind in classes if issubclass(kind, Task))
    return task
