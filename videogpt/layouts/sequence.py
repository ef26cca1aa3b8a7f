"""Sequences of tokens: what the network reads, and what each row is to predict.

    sequence.ids_BN, sequence.positions_BN3, sequence.visibility          # all that the network knows
    rows = sequence.rows_of("video")                                      # which rows belong to a modality

Modalities may come in any order and more than once: `spans` says where each is. A row predicts a token of its own
modality, or nothing.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from videogpt_kernels import Visibility

# B sequences, N rows, 3 the axes (t, h, w)

AnySequence = TypeVar("AnySequence", bound="TokenSequence")


class Span(NamedTuple):
    """Rows `start` to `stop` of every sequence, which belong to one modality."""

    modality: str
    start: int
    stop: int


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """What the network reads: whole sequences, or the rows that follow those in a cache."""

    ids_BN: Tensor
    """int64, in the joint vocabulary."""
    positions_BN3: Tensor
    """int64 places (t, h, w) for the rotary embedding; a batch of 1 where all sequences share them."""
    visibility: Visibility
    """Which rows each row may see: that of the whole sequence, also where these are only some of its rows."""
    spans: tuple[Span, ...] = ()
    """Which rows belong to which modality, in ascending order; a step of sampling need not say."""

    def rows_of(self, modality: str) -> slice | Tensor:
        """The rows of a modality, to index the axis N with: a slice where they are side by side, else their numbers."""
        spans = [span for span in self.spans if span.modality == modality]
        if len(spans) == 1:
            return slice(spans[0].start, spans[0].stop)
        rows = [torch.arange(span.start, span.stop) for span in spans]
        return torch.cat([torch.arange(0), *rows]).to(self.ids_BN.device)

    def to(self: AnySequence, device: torch.device | str) -> AnySequence:
        """The same on another device; from pinned memory to a GPU nobody waits."""
        asynchronous = torch.device(device).type == "cuda"

        def moved(value: Any) -> Any:
            return value.to(device, non_blocking=asynchronous) if isinstance(value, Tensor) else value.to(device)

        return self._with(moved)

    def pin_memory(self: AnySequence) -> AnySequence:
        """The same where a GPU can fetch it by itself: the data loader asks for this."""
        return self._with(lambda value: value.pin_memory())

    def _with(self: AnySequence, change: Callable[[Any], Any]) -> AnySequence:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        changed = {name: change(value) for name, value in fields.items() if hasattr(value, "to")}
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True, kw_only=True)
class TrainingSequence(TokenSequence):
    """Whole sequences with what each row is to predict."""

    targets_BN: Tensor
    """int64, in the joint vocabulary; PAD where a row predicts nothing."""
    loss_weight_BN: Tensor
    """float32 weight of each row in the loss; 0 where a row predicts nothing."""
