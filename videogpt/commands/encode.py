"""A folder of clips into codes, each clip as it is; `videogpt decode` makes clips of them again.

    videogpt encode films --tokenizer natural --output codes/films
    videogpt decode codes/films --tokenizer natural --output films-again

Every clip keeps its length, and unless told otherwise its picture size and rate. Sides are padded and the last frame is
held to what the tokenizer takes; `videogpt decode` cuts both off. The output folder appears whole or not at all. Clips
that cannot be read are left out and named. To train a model, use `videogpt tokenize`, which makes rows that are alike.
"""

import argparse
import sys

from videogpt.commands import add_columns, add_device, add_max_bad_share, clips_of, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", metavar="CLIPS", help="folder of clips")
    add("--tokenizer", required=True, metavar="DIR|NAME", help="video tokenizer, or model that holds one")
    add("--output", required=True, metavar="DIR", help="folder to make; must not hold anything yet")
    add("--size", type=size, metavar="N|HxW", help="pixels to scale and cut to (each clip its own)")
    add("--fps", type=float, metavar="F", help="frames per second to resample to (each clip its own)")
    add_columns(parser)
    add_max_bad_share(parser, "may be unreadable")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    from videogpt.console.progress import Progress
    from videogpt.pipeline.names import load_tokenizer
    from videogpt.tokens.whole_clips import write_clip_codes

    clips = clips_of(arguments)
    with Progress("encoding", unit="clips") as progress:
        manifest = write_clip_codes(
            clips,
            load_tokenizer(arguments.tokenizer, device=arguments.device),
            arguments.output,
            size=arguments.size,
            fps=arguments.fps,
            max_bad_share=arguments.max_bad_share,
            progress=progress.update,
            left_out=lambda reason: progress.say(f"left out: {reason}", file=sys.stdout),
        )
    print(f"{arguments.output}: codes of {manifest.num_clips} whole clips")
