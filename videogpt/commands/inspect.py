"""What is this file or folder, and is it sound?

    videogpt inspect runs/tiny/pretrained
    videogpt inspect natural                           # what is shipped, unless there is such a path here

Knows video and image files, folders of clips, video tokenizers (those of other projects, too) and exports of them, text
tokenizers, token shards, codes of whole clips, models, run folders, checkpoints, safetensors, reports and
configurations. Checks that everything is there, complete and unaltered, and names what is wrong. Nothing is ever
unpickled or run.
"""

import argparse

from videogpt.commands import add_columns

NAMED_FAULTS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="file or folder, or the name of a shipped model or tokenizer")
    add_columns(parser)


def run(arguments: argparse.Namespace) -> None:
    from pathlib import Path

    from videogpt.inspection.inspect import inspect_path
    from videogpt.pipeline.names import shipped
    from videogpt_tokenizer.files.wording import some_of

    path = Path(arguments.path)
    if not path.exists():
        path = shipped().get(arguments.path, path)
    found = inspect_path(path, arguments.file_column, arguments.caption_column)
    print("\n".join(found.lines))
    if len(found.faults) > NAMED_FAULTS:  # the error names the first
        print("\n".join(f"fault: {fault}" for fault in found.faults))
    if found.faults:
        raise ValueError(f"{arguments.path} is not sound: {some_of(found.faults, NAMED_FAULTS, '; ')}")
