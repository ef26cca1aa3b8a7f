"""The `videogpt` command: finds the command's module, and turns the user's mistakes into one line.

    videogpt --help
    videogpt sample "a red circle moves left"

Exit codes: 0 done, 2 the user's mistake (one line on standard error), 130 Ctrl-C, 143 SIGTERM, 1 a mistake of
ours (a traceback). ValueError and OSError count as the user's; VIDEOGPT_TRACEBACK=1 shows where they come
from. Nothing heavy is imported before a command is known and its arguments are right.
"""

import argparse
import difflib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from videogpt.console.messages import say, warnings_as_lines, without_line_breaks

COMMANDS = {
    "sample": "videos from prompts",
    "fit": "train a tokenizer or a model, or go on with it: --config FILE",
    "validate": "validate a training's checkpoint: --config FILE",
    "test": "test a training's checkpoint: --config FILE",
    "world": "generate a captioned data set",
    "train-text": "a text tokenizer from the captions of a folder of clips",
    "tokenize": "a folder of clips into token shards, to train a model on",
    "encode": "a folder of clips into codes, each clip as it is",
    "decode": "codes of whole clips back into clips",
    "reconstruct": "clips through a video tokenizer and back, with PSNR, SSIM and bits",
    "evaluate": "figures of a model: bits per token, PSNR, SSIM, caption following, speed",
    "export": "a video tokenizer as safetensors, ONNX or torch.export files for other programs",
    "inspect": "what is this file or folder, and is it sound?",
}
FORMER_NAMES = {"detokenize": "decode"}
"""Commands under the names that version 0.1 had for them."""
TRAINER_COMMANDS = ("fit", "validate", "test")
USER_MISTAKE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as every other mistake does."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; `argv` is what follows `videogpt`, the process's own unless given."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text, nor a terminal know every letter
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _dispatch(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has gone; the interpreter must not try to flush the rest
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError) as error:
        if os.environ.get("VIDEOGPT_TRACEBACK", "0") != "0":
            raise
        say(f"error: {without_line_breaks(_without_number(error))}", every_process=True)
        return USER_MISTAKE
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        say("error: there is not enough memory for this: take smaller pictures or batches", every_process=True)
        return USER_MISTAKE
    except KeyboardInterrupt:
        say("interrupted", every_process=True)
        return INTERRUPTED


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help_text(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else USER_MISTAKE
    if argv[0] == "--version":
        from importlib.metadata import version

        print(f"videogpt {version('videogpt-lm')}")
        return 0
    name, rest = FORMER_NAMES.get(argv[0], argv[0]), argv[1:]
    if name in TRAINER_COMMANDS:
        from videogpt.runs.cli import run

        return run(argv)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean {near[0]}?" if near else "see videogpt --help"
        raise ValueError(f"there is no command {name!r}: {remedy}")
    command = import_module(f"videogpt.commands.{name.replace('-', '_')}")
    parser = _Parser(
        prog=f"videogpt {name}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    parser.set_defaults(command=shlex.join(["videogpt", *argv]))
    parsed = parser.parse_args(rest)
    with warnings_as_lines():
        command.run(parsed)
    return 0


def _is_out_of_memory(error: Exception) -> bool:
    """Python's own complaint, or PyTorch's, which has no type for that of a CPU."""
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "allocate memory" in str(error)


def _without_number(error: Exception) -> str:
    """`a.mp4: Permission denied`, where Python says `[Errno 13] Permission denied: 'a.mp4'`."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return str(error)


def _help_text() -> str:
    """What `videogpt --help` prints."""
    commands = "\n".join(f"  {name:<12} {text}" for name, text in COMMANDS.items())
    return (
        f"usage: videogpt COMMAND ...\n\nText and video as one sequence of tokens.\n\n{commands}\n\n"
        "videogpt COMMAND --help tells more; videogpt --version the version.\n"
        "VIDEOGPT_TRACEBACK=1 in the environment shows where an error comes from."
    )
