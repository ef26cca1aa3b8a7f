"""What `videogpt` tells beside its results: lines on standard error that begin with its name.

    say("resuming runs/tiny/checkpoints/last.ckpt")       # videogpt: resuming runs/tiny/checkpoints/last.ckpt
    with warnings_as_lines():
        ...                                               # videogpt: warning: prompt 'a red ...' has 40 tokens, ...

Where several processes train together, the first of them speaks. Imports nothing heavy.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def without_line_breaks(text: str) -> str:
    """The text with every run of white space made a space."""
    return " ".join(text.split())


def say(text: str, *, every_process: bool = False) -> None:
    """Print a line, from the first process only unless told otherwise."""
    if every_process or _is_first_process():
        print(f"videogpt: {text}", file=sys.stderr, flush=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Tell warnings as a user takes them: what they say, not the line of our source that says it."""
    with warnings.catch_warnings():
        warnings.showwarning = _say_warning
        yield


def _say_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    say(f"warning: {without_line_breaks(str(message))}")


def _is_first_process() -> bool:
    """Lightning counts the processes; where nobody has imported it, there is one."""
    lightning = sys.modules.get("lightning.fabric.utilities.rank_zero")
    return lightning is None or lightning.rank_zero_only.rank == 0
