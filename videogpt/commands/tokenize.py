"""A folder of clips into token shards, to train a model on.

    videogpt tokenize data/shapes --tokenizer runs/tokenizer/pretrained --output tokens/shapes

Every row is a clip, or a window of one, of the same length, picture size and rate. The output folder appears whole or
not at all. Clips that cannot be read or are too short are left out and named. With --num-frames all, each clip is coded
as it is, which is what `videogpt encode` does.
"""

import argparse
import sys

from videogpt.commands import (
    add_any_tokenizer,
    add_columns,
    add_device,
    add_max_bad_share,
    clips_of,
    encode,
    size,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("clips", metavar="CLIPS", help="folder of captioned clips")
    add_any_tokenizer(parser)
    add("--output", required=True, metavar="DIR", help="folder to make; must not hold anything yet")
    about = "frames of each row, 1 + 4k (17); all: as videogpt encode"
    add("--num-frames", type=count_or_all, default=17, metavar="N|all", help=about)
    add("--size", type=size, metavar="N|HxW", help="pixels to scale and cut to (64)")
    add("--fps", type=float, metavar="F", help="frames per second to resample to (that of the first clip)")
    add_columns(parser)
    about = "windows of --num-frames taken from each clip (1)"
    add("--clips-per-source", type=count_or_all, metavar="N|all", help=about)
    add("--batch-size", type=int, metavar="N", help="clips encoded at once (16)")
    add_max_bad_share(parser, "may be unreadable or too short")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    if arguments.num_frames == "all":
        for name in ("clips_per_source", "batch_size"):
            if getattr(arguments, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is for windows: leave it out with --num-frames all")
        encode.run(arguments)
        return

    from videogpt.console.progress import Progress
    from videogpt.pipeline.names import load_any_tokenizer
    from videogpt.tokens.writer import tokenize_clips

    clips = clips_of(arguments)
    with Progress("tokenizing", unit="clips") as progress:
        manifest = tokenize_clips(
            clips,
            load_any_tokenizer(
                arguments.tokenizer, device=arguments.device, trust_torchscript=arguments.trust_torchscript
            ),
            arguments.output,
            num_frames=arguments.num_frames,
            size=64 if arguments.size is None else arguments.size,
            fps=arguments.fps,
            batch_size=16 if arguments.batch_size is None else arguments.batch_size,
            clips_per_source=1 if arguments.clips_per_source is None else arguments.clips_per_source,
            max_bad_share=arguments.max_bad_share,
            progress=progress.update,
            left_out=lambda reason: progress.say(f"left out: {reason}", file=sys.stdout),
        )
    grid = "x".join(map(str, manifest.grid))
    print(f"{arguments.output}: {manifest.num_clips} rows of {grid} codes")


def count_or_all(text: str) -> int | str:
    """A number, or the word."""
    return text if text == "all" else int(text)
