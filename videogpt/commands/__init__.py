"""The commands of `videogpt`, one module each: `add_arguments(parser)` and `run(arguments)`.

A module's docstring is its help. They parse, call the library and print; heavy imports stay inside `run`.
"""

import argparse

from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE


def add_columns(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that takes a folder of clips: which columns of its metadata to read."""
    parser.add_argument("--file-column", default="file_name", metavar="NAME", help="column of the metadata (file_name)")
    parser.add_argument("--caption-column", default="caption", metavar="NAME", help="column of the metadata (caption)")


def add_max_bad_share(parser: argparse.ArgumentParser, what: str) -> None:
    """The argument of every command that leaves bad clips out, which are those that `what`."""
    parser.add_argument(
        "--max-bad-share",
        type=float,
        default=MAX_BAD_SHARE,
        metavar="P",
        help=f"share of clips that {what} ({MAX_BAD_SHARE})",
    )


def add_any_tokenizer(parser: argparse.ArgumentParser) -> None:
    """`--tokenizer`, where those of other projects will do, and the consent that programs among them need."""
    parser.add_argument(
        "--tokenizer",
        required=True,
        metavar="DIR|FILE|NAME",
        help="video tokenizer, or model that holds one; a checkpoint of VideoGPT's VQ-VAE; encoder.jit and decoder.jit",
    )
    parser.add_argument(
        "--trust-torchscript", action="store_true", help="run the programs in encoder.jit and decoder.jit"
    )
