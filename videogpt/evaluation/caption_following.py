"""Do sampled clips show what their captions say? The world that wrote the clips can tell from pixels alone.

world = find_world(records)                                     # None: nobody can tell for these clips
shares = caption_following(pipeline, records, world)            # {"all attributes": 0.91, "colour": 0.98, ...}
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from videogpt.pipeline.pipeline import Pipeline
from videogpt.worlds.world import WORLDS, World
from videogpt_tokenizer.clips.folder import ClipRecord


def find_world(records: Sequence[ClipRecord], source: str | os.PathLike[str] | None = None) -> World[Any] | None:
    """The world that knows all these clips by the columns of their metadata, or None.

    A world that is made from a folder, such as the sprite sheets, is found only where that is given as `source`.
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


def caption_following(
    pipeline: Pipeline, records: Sequence[ClipRecord], world: World[Any], seed: int = 0
) -> dict[str, float]:
    """Sample the caption of every clip once, have the samples read, and give the shares that are right.

    They are those of all attributes together, over all clips and over each group, and of each attribute.
    """
    prompts = [world.full_caption(record, np.random.default_rng([seed, i])) for i, record in enumerate(records)]
    clips = pipeline(prompts, seed=[seed + i for i in range(len(prompts))])
    scenes = [world.scene_of(record) for record in records]
    verdicts = [world.verdict(clip.frames_THWC.numpy(), scene) for clip, scene in zip(clips, scenes, strict=True)]
    right = [all(verdict.values()) for verdict in verdicts]
    groups = [world.group(scene) for scene in scenes]
    shares = {"all attributes": _share(right)}
    for group in sorted(set(groups)):
        shares[f"all attributes, {group}"] = _share([yes for yes, of in zip(right, groups, strict=True) if of == group])
    return shares | {name: _share([verdict[name] for verdict in verdicts]) for name in verdicts[0]}


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers)
