"""A world as a folder of captioned clips, ready for ClipFolder.

    for path in write_world("data/shapes", clips=5000, seed=0, split="train"):
        ...                                           # one path per finished clip, for a progress bar

    data/shapes/metadata.csv          file_name, caption and scene (JSON: every attribute and the exact track)
    data/shapes/clips/000000.mp4      H.264, 17 frames of 64x64 at 8 per second

The same arguments give the same folder. It appears under its name when it is complete, and not at all after
an interrupt or an error. Refuses to touch a folder that holds anything.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from videogpt.worlds.shapes.captions import caption
from videogpt.worlds.shapes.render import render
from videogpt.worlds.shapes.scene import FPS, SPLITS, Split, caption_rng, sample_scene
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.files.whole_folder import whole_folder

METADATA_NAME = "metadata.csv"
COLUMNS = ("file_name", "caption", "scene")


def write_world(
    output: str | os.PathLike[str], clips: int, seed: int = 0, split: Split = "train", crf: int = 10
) -> Iterator[Path]:
    """Write `clips` clips of the shapes world, yielding the final path of each as it is done.

    Args:
        output: The folder to make; it may exist if it is empty.
        clips: How many clips, at least 1.
        seed: Which endless list of scenes; another seed gives unseen scenes of the same kind.
        split: "train", or "held_out" for scenes with (shape, colour) pairs that training never shows.
        crf: H.264 quality: 0 is best, 51 worst.

    Raises:
        ValueError: when the first path is asked for: an argument is out of range, or the folder is not empty.
        OSError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    if clips < 1:
        raise ValueError(f"clips={clips}: a world needs at least 1 clip")
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown: choose one of {', '.join(SPLITS)}")
    folder = Path(output)
    with whole_folder(folder) as partial:
        (partial / "clips").mkdir()
        with open(partial / METADATA_NAME, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for index in range(clips):
                scene = sample_scene(seed, index, split)
                name = f"clips/{index:06d}.mp4"
                Clip(torch.from_numpy(render(scene)), FPS).write(partial / name, crf=crf)
                table.writerow((name, caption(scene, caption_rng(seed, index, split)), scene.to_json()))
                yield folder / name
