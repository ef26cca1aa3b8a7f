"""A world as a folder of captioned clips, ready for ClipFolder.

    for path in write_world("data/shapes", clips=5000, seed=0, split="train"):
        ...                                           # one path per finished clip, for a progress bar

    data/shapes/metadata.csv          file_name, caption and the world's own columns
    data/shapes/clips/000000.mp4      H.264

The same arguments give the same folder, which appears whole or not at all. Refuses one that holds anything.
"""

import csv
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from videogpt.worlds.shapes.world import ShapesWorld
from videogpt.worlds.world import Split, World, check_draw
from videogpt_tokenizer.files.output import whole_folder

CRF = 10  # H.264 quality: 0 is best, 51 worst


def write_world(
    output: str | os.PathLike[str],
    clips: int,
    seed: int = 0,
    split: Split = "train",
    *,
    world: World[Any] | None = None,
    suffix: str = ".mp4",
) -> Generator[Path, None, None]:
    """Write the first clips of a world, yielding the final path of each as it is done.

    Args:
        output: The folder to make; it may exist if it is empty.
        clips: How many clips, from 1 to all that the split has.
        seed: Another seed gives other scenes of the same kind, and other wordings.
        split: "held_out" for combinations that training never shows.
        world: The shapes world, unless given.
        suffix: ".mp4" halves the resolution of colours (31 dB against the pictures of sprites); ".avi" is lossless
            and six times larger.

    Raises:
        ValueError: at once when a number or the split is wrong; at the first clip when the folder is not empty or
            the suffix unknown.
        OSError: the disk is full or the folder cannot be written.
    """
    world = ShapesWorld() if world is None else world
    check_draw(seed, 0, split)
    most = world.num_scenes(split)
    if most is not None and not 1 <= clips <= most:
        raise ValueError(f"clips={clips}: the split {split!r} has 1 to {most} clips")
    if clips < 1:
        raise ValueError(f"clips={clips}: a world needs at least 1 clip")

    def write() -> Generator[Path, None, None]:
        with whole_folder(Path(output)) as partial:
            (partial / "clips").mkdir()
            with (partial / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(("file_name", "caption", *world.columns))
                for index in range(clips):
                    scene = world.scene(seed, index, split)
                    name = f"clips/{index:06d}{suffix}"
                    world.render(scene).write(partial / name, crf=CRF)
                    caption = world.caption(scene, world.caption_rng(seed, index, split))
                    table.writerow((name, caption, *world.fields(scene).values()))
                    yield Path(output) / name

    return write()
