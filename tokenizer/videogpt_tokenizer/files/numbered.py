"""Names of files that are added to a folder, NNNN-slug.suffix: none is taken twice, and no user's text chooses a place.

    with next_number(folder) as number:
        clip.write(folder / f"{number}-{slug(prompt)}.mp4")           # 0042-a-red-circle-moves-left.mp4

Numbers go on from the highest in the folder, also when several processes write into it at once.
"""

import itertools
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videogpt_tokenizer.files.locks import locked
from videogpt_tokenizer.files.replacing import clear_left_overs_in

SLUG_LENGTH = 40
_NUMBER = re.compile(r"\.?(\d{4,18})[-.](?!claim$)")


def slug(text: str) -> str:
    """1 to 40 characters of [a-z0-9-] that recall the text; "prompt" where nothing remains."""
    plain = unicodedata.normalize("NFKD", text[:1000]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH].strip("-") or "prompt"


@contextmanager
def next_number(folder: Path) -> Iterator[str]:
    """Hold the next free number of the folder; other processes get others while it is held, and afterwards.

    The claim is a lock on a hidden file, and ends with its process. It goes once files with its number are there, and
    whoever claims a number looks for such files afterwards. What killed processes have left in the folder goes as well.
    """
    clear_left_overs_in(folder)
    taken = [int(found[1]) for name in os.listdir(folder) if (found := _NUMBER.match(name))]
    for candidate in itertools.count(1 + max(taken, default=0)):
        number = f"{candidate:04d}"
        with _claimed(folder / f".{number}.claim") as mine:
            if mine and not any(name.startswith(f"{number}-") for name in os.listdir(folder)):
                yield number
                return


@contextmanager
def _claimed(claim: Path) -> Iterator[bool]:
    """Whether the claim is ours; where the file system has no locks, whoever makes the file has it."""
    with locked(claim) as mine:
        if mine is not None:
            yield mine
            return
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        yield False
        return
    try:
        yield True
    finally:
        claim.unlink(missing_ok=True)
