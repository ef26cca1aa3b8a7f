"""Files of prompts: plain text with one prompt a line, or JSON lines with `prompt` and, if wanted, other fields.

    {"prompt": "a red circle moves left", "seed": 3, "num_frames": 9}
    {"image": "circle.png"}
    {"prompt": "a red circle moves left", "video": "circle.mp4", "context_frames": 5}

Fields are those of `Request`, `prompt` its text, without which a picture or film has to be there. Places of files are
looked for from the folder of the prompts. Blank lines are skipped. A file that is missing, is not UTF-8, holds no
prompt or has a bad line is refused, and the line named.
"""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from videogpt.pipeline.request import Request
from videogpt.sampling.draw import SEED_LIMIT
from videogpt_tokenizer.files.json_files import parse_json

_FILES = ("image", "video", "mask")
_NUMBERS = {"seed": (0, SEED_LIMIT), "num_frames": (1, 2**31), "context_frames": (1, 2**31)}
"""The least, and what they are below."""
_FIELDS = ("prompt", *_FILES, *_NUMBERS)


def read_prompts(path: str | Path, default: Request = Request()) -> list[Request]:  # noqa: B008 - frozen
    """Read the prompts of a file in order; a name that ends in .jsonl holds JSON lines, any other plain text.

    `default` says what a line does not. ValueError: see above. OSError: the file cannot be read.
    """
    path = Path(path)
    if not path.exists() or path.is_dir():
        what = "is a folder" if path.is_dir() else "there is no such file"
        raise ValueError(f"{path}: {what}; give a text file with one prompt a line (--prompts FILE)")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no prompt: write one prompt a line")
    if path.suffix.lower() == ".jsonl":
        return _parse_json_lines(path, lines, default)
    return [replace(default, text=line) for _, line in lines]


def _parse_json_lines(path: Path, lines: list[tuple[int, str]], default: Request) -> list[Request]:
    requests, unknown = [], {}
    for number, line in lines:
        requests.append(_parse_json_line(line, f"{path}, line {number}", default, path.parent))
        unknown |= dict.fromkeys(key for key in parse_json(line) if key not in _FIELDS)
    if unknown:
        warnings.warn(
            f"{path}: {', '.join(map(repr, unknown))} are no fields of a request and are passed over; those are "
            f"{', '.join(_FIELDS)}",
            stacklevel=3,
        )
    return requests


def _parse_json_line(line: str, place: str, default: Request, folder: Path) -> Request:
    wanted = 'an object such as {"prompt": "a red circle moves left", "seed": 3}'
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise ValueError(f"{place}: not JSON ({getattr(error, 'msg', error)}); write {wanted}") from error
    shown = isinstance(entry, dict) and any(entry.get(name) is not None for name in _FILES)
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt", "" if shown else None), str):
        raise ValueError(f"{place}: no prompt string; write {wanted}")
    given: dict[str, Any] = {"text": entry.get("prompt", "")}
    for name, (least, below) in _NUMBERS.items():
        number = entry.get(name)
        if number is None:
            continue
        if type(number) is not int or not least <= number < below:
            raise ValueError(
                f"{place}: {name} is {number!r}; it must be a whole number of {least} or more, below {below}"
            )
        given[name] = number
    for name in _FILES:
        file = entry.get(name)
        if file is not None and not isinstance(file, str):
            raise ValueError(f"{place}: {name} is {file!r}; it must be the place of a file")
        given |= {} if file is None else {name: folder / file}
    try:
        return replace(default, **given)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
