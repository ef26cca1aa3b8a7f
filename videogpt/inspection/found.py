"""What a describer returns, and the words that several of them use.

    Inspection([f"{path}: text tokenizer, 512 tokens"])
    Inspection(lines, ["0.avi is damaged"])

A describer takes a path and returns an `Inspection`. It raises ValueError for what is damaged as a whole.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn


class Inspection(NamedTuple):
    """What was found."""

    lines: list[str]
    """What it is."""
    faults: Sequence[str] = ()
    """What is wrong with parts of it; empty if it is sound."""


def count_parameters(module: nn.Module) -> str:
    """How many parameters a network has, for people."""
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"
