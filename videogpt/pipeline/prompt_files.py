"""Files of prompts: plain text with one prompt a line, or JSON lines with `prompt` and, if wanted, `seed`.

Blank lines are skipped. A file that is missing, is not UTF-8, holds no prompt or has a bad line is refused, and
the line named.
"""

from dataclasses import replace
from pathlib import Path

from videogpt.pipeline.request import Request
from videogpt.sampling.draw import SEED_LIMIT
from videogpt_tokenizer.files.json_files import parse_json


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
        return [_parse_json_line(line, f"{path}, line {n}", default) for n, line in lines]
    return [replace(default, text=line) for _, line in lines]


def _parse_json_line(line: str, place: str, default: Request) -> Request:
    wanted = 'an object such as {"prompt": "a red circle moves left", "seed": 3}'
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise ValueError(f"{place}: not JSON ({getattr(error, 'msg', error)}); write {wanted}") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("prompt"), str):
        raise ValueError(f"{place}: no prompt string; write {wanted}")
    seed = entry.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < SEED_LIMIT):
        raise ValueError(f"{place}: seed is {seed!r}; it must be a whole number of 0 or more, below {SEED_LIMIT}")
    return replace(default, text=entry["prompt"], seed=default.seed if seed is None else seed)
