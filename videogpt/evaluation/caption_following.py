"""Which world do written clips belong to? It can tell whether a sampled clip shows what its caption says.

    world = find_world(records)                                     # None: nobody can tell for these clips
    world.verdict(frames_THWC, world.scene_of(records[0]))          # {"shape": True, "colour": False, ...}

The columns of the clips' metadata decide.
"""

import os
from collections.abc import Sequence
from typing import Any

from videogpt.worlds.world import WORLDS, World
from videogpt_tokenizer.clips.folder import ClipRecord


def find_world(records: Sequence[ClipRecord], source: str | os.PathLike[str] | None = None) -> World[Any] | None:
    """The world that knows all these clips, or None.

    Args:
        records: Clips of one folder.
        source: The folder that the world is made from, without which a world that needs one is not found: the sprite
            sheets.

    Raises:
        ValueError: the source is incomplete, or given for clips of no world that needs one.
    """
    missing = []
    for name, entry in WORLDS.items():
        columns = entry.load().columns
        if all(column in record.fields for record in records for column in columns):
            return None if entry.source is not None and source is None else entry.make(source)
        if entry.source is not None:
            missing.append(f"{name} ({', '.join(columns)})")
    if source is not None:
        raise ValueError(f"sheets is {source}, but the clips' metadata lack the columns of {' or '.join(missing)}")
    return None
