"""What is this file or folder, and is it sound?

    videogpt inspect runs/tiny/pretrained

Knows video and image files, folders of clips, video tokenizers, text tokenizers, token shards, models, run
folders, checkpoints and safetensors. Checks that everything is there, complete and of one piece. Nothing is
ever unpickled.
"""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("path", metavar="PATH", help="file or folder")


def run(arguments: argparse.Namespace) -> None:
    """Print what is known; damage is an error."""
    from pathlib import Path

    from videogpt.inspection import inspect_path

    found = inspect_path(Path(arguments.path))
    print("\n".join(found.lines))
    if found.faults:
        more = f" (and {len(found.faults) - 1} more)" if len(found.faults) > 1 else ""
        raise ValueError(f"not sound: {found.faults[0]}{more}")
