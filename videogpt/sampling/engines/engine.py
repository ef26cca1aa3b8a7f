"""What an engine is: it runs the network over what is given, then over the rows that follow, as a lane asks for them.

    decoding = engine.start(prompt.given, rows=320)                 # reads what is given
    decoding.hidden_RMD                                             # what the network made of it
    hidden_RMD = decoding.step(ids_RM, positions_RM3, starts=[0])   # the first row behind it
    hidden_RMD = decoding.step(ids_RM, positions_RM3, starts=[1])   # the next; smaller numbers forget what was behind

An exact engine computes what `VideoGPT.hidden` does, up to float32 rounding. Head and draw are not its business.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from videogpt.layouts.sequence import TokenSequence

# R sequences, M rows of a call, D width, 3 the axes (t, h, w)


MOST_IN_WINDOWS = 8
"""Sequences, two for each guided sample, up to which windows pay on a CPU (docs/log.md, 2026-11-29)."""


class Decoding(Protocol):
    """A batch of sequences that the network has read so far."""

    hidden_RMD: Tensor
    """Hidden states of the rows given, one sequence for each in `TokenSequence`."""

    def step(self, ids_RM: Tensor, positions_RM3: Tensor, starts: Sequence[int]) -> Tensor:
        """Hidden states (R, M, D) of further rows; they may be overwritten by the next call.

        Args:
            ids_RM: int64, in the joint vocabulary.
            positions_RM3: int64 places; a batch of 1 where all sequences share them.
            starts: For each sequence the number of its first row here, counted from those given. What it had from
                there on is forgotten; no row may be left out.
        """
        ...


class Engine(Protocol):
    """A network made ready to run."""

    name: str
    """As `--engine` takes it."""

    def paying_window(self, sequences: int) -> int:
        """The most places of a pass, for so many sequences, that cost less than they bring where guesses are right."""
        ...

    def at_work(self) -> AbstractContextManager[object]:
        """To be entered around passes and the draws between them."""
        ...

    def start(self, given: TokenSequence, rows: int, sources: Sequence[int] | None = None) -> Decoding:
        """Read what is given.

        Args:
            given: Whole rows 0 to N-1 of each sequence; its visibility is that of all rows to come, too.
            rows: At most so many will follow.
            sources: Go on with as many sequences as this has numbers, each a copy of that one; None: with those given.
        """
        ...


def limits_of(given: TokenSequence, rows: int) -> Tensor:
    """(R, 4, rows) int64: the keys that rows 0 to rows-1 of each whole sequence see, as `Visibility.intervals_of`."""
    visibility = given.visibility
    assert visibility.tile_window is None, "two ranges of keys cannot tell tiles"
    every = torch.arange(rows, dtype=torch.int32, device=visibility.device)
    return torch.stack(visibility.intervals_of(every), dim=1).long()
