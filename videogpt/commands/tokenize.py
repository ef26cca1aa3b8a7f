"""A folder of clips into token shards, to train a model on; or whole clips into their codes.

    videogpt tokenize data/shapes --tokenizer runs/tokenizer/pretrained --output tokens/shapes
    videogpt tokenize films --tokenizer natural --num-frames all --output codes/films

With --num-frames all, every clip keeps its length, and unless told otherwise its picture size and rate: sides are
padded and the last frame is held to what the tokenizer takes, and `videogpt detokenize`, which makes clips of such
codes, cuts both off. The folder appears whole or not at all. Clips that cannot be read are left out and named.
"""

import argparse

from videogpt.commands import add_any_tokenizer, add_columns, add_max_bad_share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("clips", metavar="CLIPS", help="folder of captioned clips")
    add_any_tokenizer(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make; must not exist")
    parser.add_argument(
        "--num-frames", type=count_or_all, default=17, metavar="N|all", help="frames of each clip, 1 + 4k (17)"
    )
    parser.add_argument("--size", type=size, metavar="N|HxW", help="pixels (64; of whole clips their own)")
    parser.add_argument(
        "--fps",
        type=float,
        metavar="F",
        help="frames per second to resample to (that of the first clip; of whole clips their own)",
    )
    add_columns(parser)
    parser.add_argument(
        "--clips-per-source",
        type=count_or_all,
        metavar="N|all",
        help="windows of --num-frames taken from each clip (1)",
    )
    parser.add_argument("--batch-size", type=int, metavar="N", help="clips encoded at once (16)")
    add_max_bad_share(parser, "may be unreadable or too short")
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to run (auto)")


def run(arguments: argparse.Namespace) -> None:
    """Tokenize; prints what was written and what was left out."""
    from videogpt.console.progress import Progress
    from videogpt.pipeline.names import load_any_tokenizer, load_tokenizer
    from videogpt_tokenizer.clips.folder import ClipFolder

    whole = arguments.num_frames == "all"
    for name in ("clips_per_source", "batch_size") if whole else ():
        if getattr(arguments, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for windows: leave it out with --num-frames all")
    clips = ClipFolder(arguments.clips, arguments.file_column, arguments.caption_column)
    given = {"fps": arguments.fps, "max_bad_share": arguments.max_bad_share}
    with Progress("tokenizing", unit="clips") as progress:
        given["progress"] = progress.update
        if whole:
            from videogpt.tokens.whole_clips import write_clip_codes

            tokenizer = load_tokenizer(arguments.tokenizer, device=arguments.device)
            coded = write_clip_codes(clips, tokenizer, arguments.output, size=arguments.size, **given)
            skipped, what = coded.skipped, f"codes of {coded.num_clips} whole clips"
        else:
            from videogpt.tokens.writer import tokenize_clips

            manifest = tokenize_clips(
                clips,
                load_any_tokenizer(
                    arguments.tokenizer, device=arguments.device, trust_torchscript=arguments.trust_torchscript
                ),
                arguments.output,
                num_frames=arguments.num_frames,
                size=arguments.size or 64,
                batch_size=16 if arguments.batch_size is None else arguments.batch_size,
                clips_per_source=arguments.clips_per_source or 1,
                **given,
            )
            skipped, what = manifest.skipped, f"{manifest.num_clips} rows of {'x'.join(map(str, manifest.grid))} codes"
    for line in skipped:
        print(f"left out: {line}")
    print(f"{arguments.output}: {what}")


def size(text: str) -> int | tuple[int, int]:
    """`64`, or height and width as `48x64`."""
    height, cross, width = text.partition("x")
    return (int(height), int(width)) if cross else int(height)


def count_or_all(text: str) -> int | str:
    """A number, or the word."""
    return text if text == "all" else int(text)
