"""The commands of `videogpt`, one module each: `add_arguments(parser)`, and `run(arguments)`, which works and prints.

A module's docstring is its help. Commands parse and call the library; heavy imports stay inside `run`. What several of
them share is here.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from videogpt_tokenizer.clips.skipped import MAX_BAD_SHARE

if TYPE_CHECKING:
    from videogpt_tokenizer.clips.folder import ClipFolder


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Of commands that take a folder of clips: which columns of its metadata to read."""
    parser.add_argument("--file-column", default="file_name", metavar="NAME", help="column of the metadata (file_name)")
    parser.add_argument("--caption-column", default="caption", metavar="NAME", help="column of the metadata (caption)")


def clips_of(arguments: argparse.Namespace) -> "ClipFolder":
    """The folder of clips by these columns, told what it holds beside them."""
    from videogpt.console.messages import say
    from videogpt_tokenizer.clips.folder import ClipFolder

    clips = ClipFolder(arguments.clips, arguments.file_column, arguments.caption_column)
    if told := clips.left_aside():
        say(told)
    return clips


def add_max_bad_share(parser: argparse.ArgumentParser, what: str) -> None:
    """Of commands that leave clips out, namely those that `what`."""
    about = f"share of clips that {what} ({MAX_BAD_SHARE})"
    parser.add_argument("--max-bad-share", type=float, default=MAX_BAD_SHARE, metavar="P", help=about)


def add_any_tokenizer(parser: argparse.ArgumentParser) -> None:
    """`--tokenizer`, where those of other projects will do, and the consent that programs among them need."""
    about = "video tokenizer, or model that holds one; a checkpoint of VideoGPT's VQ-VAE; encoder.jit and decoder.jit"
    parser.add_argument("--tokenizer", required=True, metavar="DIR|FILE|NAME", help=about)
    about = "run the programs in encoder.jit and decoder.jit"
    parser.add_argument("--trust-torchscript", action="store_true", help=about)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Of commands that run a network."""
    parser.add_argument("--device", default="auto", metavar="auto|cpu|cuda", help="where to run (auto)")


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Of commands that sample."""
    names = ("auto", "eager", "jacobi", "next-row", "diagonal")
    about = "how codes are drawn; next-row and diagonal draw other codes (auto: the fastest exact one)"
    parser.add_argument("--lane", choices=names, default="auto", help=about)
    names = ("auto", "torch", "torch-int8-cache", "onnx", "onnx-int8", "compiled")
    about = "who runs the network; those with int8 draw other codes, compiled takes minutes the first time (auto: the "
    about += "fastest exact one that can run here)"
    parser.add_argument("--engine", choices=names, default="auto", help=about)


def size(text: str) -> int | tuple[int, int]:
    """`64`, or height and width as `48x64`."""
    height, cross, width = text.partition("x")
    return (int(height), int(width)) if cross else int(height)


def new_output(path: str) -> Path:
    """An output that is never written over another; ValueError where something is there."""
    if Path(path).exists():
        raise ValueError(f"{path} exists already: give another --output, or remove it")
    return Path(path)
