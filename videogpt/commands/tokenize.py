"""A folder of clips into token shards, to train a model on.

    videogpt tokenize data/shapes --tokenizer runs/tokenizer/pretrained --output tokens/shapes

The folder of token shards appears whole or not at all. Clips that cannot be read are left out and named.
"""

import argparse

from videogpt.commands import add_any_tokenizer, add_columns, add_max_bad_share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("clips", metavar="CLIPS", help="folder of captioned clips")
    add_any_tokenizer(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make; must not exist")
    parser.add_argument("--num-frames", type=int, default=17, metavar="N", help="frames of each clip, 1 + 4k (17)")
    parser.add_argument("--size", type=size, default=64, metavar="N|HxW", help="pixels (64)")
    parser.add_argument(
        "--fps", type=float, metavar="F", help="frames per second to resample to (that of the first clip)"
    )
    add_columns(parser)
    parser.add_argument(
        "--clips-per-source",
        type=count_or_all,
        default=1,
        metavar="N|all",
        help="windows of --num-frames taken from each clip (1)",
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="clips encoded at once (16)")
    add_max_bad_share(parser, "may be unreadable or too short")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to run (auto)")


def run(arguments: argparse.Namespace) -> None:
    """Tokenize; prints what was written and what was left out."""
    from videogpt.progress import Progress
    from videogpt.token_shards import tokenize_clips
    from videogpt.tokenizer_folder import load_any_tokenizer
    from videogpt_tokenizer.clip_folder import ClipFolder

    clips = ClipFolder(arguments.clips, arguments.file_column, arguments.caption_column)
    tokenizer = load_any_tokenizer(
        arguments.tokenizer, device=arguments.device, trust_torchscript=arguments.trust_torchscript
    )
    with Progress("tokenizing", unit="clips") as progress:
        manifest = tokenize_clips(
            clips,
            tokenizer,
            arguments.output,
            num_frames=arguments.num_frames,
            size=arguments.size,
            fps=arguments.fps,
            batch_size=arguments.batch_size,
            clips_per_source=arguments.clips_per_source,
            max_bad_share=arguments.max_bad_share,
            progress=progress.update,
        )
    for line in manifest.skipped:
        print(f"left out: {line}")
    print(f"{arguments.output}: {manifest.num_clips} rows of {'x'.join(map(str, manifest.grid))} codes")


def size(text: str) -> int | tuple[int, int]:
    """`64`, or height and width as `48x64`."""
    height, cross, width = text.partition("x")
    return (int(height), int(width)) if cross else int(height)


def count_or_all(text: str) -> int | str:
    """A number, or the word."""
    return text if text == "all" else int(text)
