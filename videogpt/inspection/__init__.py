"""What is a file or folder, and is it sound? A recogniser, and a describer for every kind.

A describer takes a path and returns an `Inspection`. It raises ValueError for what is damaged as a whole.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Inspection(NamedTuple):
    """What was found."""

    lines: list[str]
    """What it is."""
    faults: Sequence[str] = ()
    """What is wrong with parts of it; empty if it is sound."""
