"""What is wrong with the arguments and configuration files of a run, in one line for the user.

    check_config_files(["--config", "tiny.yaml", "--trainer.max_steps=3"])
    raise ValueError(plain(str(error)))         # an error of jsonargparse's

Knows no setting: what there is to set, and of which type, is jsonargparse's to say.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
}
NOISE = r"Does not validate|Subtypes:|Errors:|Given value|Parser key|Expected an? "


def check_config_files(args: Sequence[str]) -> None:
    """Check that every file given with `--config` is there and holds settings.

    Raises:
        ValueError: one is missing, no text, no YAML, or no settings by name.
    """
    for _, _, path in config_files(args):
        if not path.is_file():
            raise ValueError(f"config {path} is not there, or no file: give a YAML file such as those in configs/")
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"config {path} is no text: give a YAML file such as those in configs/") from error
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise ValueError(f"config {path} is no YAML: {where}{problem}") from error
        if not isinstance(settings, dict):
            found = "is empty" if settings is None else f"holds a {type(settings).__name__}"
            raise ValueError(f"config {path} {found}: it must hold settings by name, as the files in configs/ do")


class ConfigFile(NamedTuple):
    """A file given with `--config`."""

    index: int
    """Of the argument that names it."""
    prefix: str
    """What stands before its path there."""
    path: Path


def config_files(args: Sequence[str]) -> Iterator[ConfigFile]:
    """The files that the arguments give with `--config`."""
    for index, (before, arg) in enumerate(zip(["", *args], args, strict=False)):
        if before in ("-c", "--config"):
            yield ConfigFile(index, "", Path(arg))
        elif arg.startswith("--config="):
            yield ConfigFile(index, "--config=", Path(arg.removeprefix("--config=")))


def plain(message: str) -> str:
    """The one thing that an error of jsonargparse's is about, with its key.

    jsonargparse goes through a setting level by level, and through every type that it may have.
    """
    if missing := re.search(r"arguments are required: \w+\.([\w.]+)", message):
        return f"{missing[1]} is not set: give it in a file with --config, or as a flag"
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    lines = [re.sub(r"^- ", "", line.strip()) for line in message.splitlines()]
    news = [line for line in lines if not re.match(NOISE, line) and not _leads_deeper(line, message)]
    rest = " ".join(dict.fromkeys(news))  # said once, though it is so for several types
    if not rest:
        kinds = [_kind(name) for name in re.findall(r"Expected an? (.+?)(?:\. Got value: .*|: .*)?$", message, re.M)]
        value = re.search(r"(?:Got|Given) value: (?:NestedArg\(.*val='(.*)'\)|(.*))", message)
        found = (value[1] or value[2]) if value else "the value"
        rest = f"{found} does not fit, it must be {' or '.join(filter(None, kinds))}"
    return f"{key}: {rest}" if key else rest


def _leads_deeper(line: str, message: str) -> bool:
    """Whether the line only names a class on the way to the setting that is wrong."""
    return line.startswith("Problem with given class_path") and "Parser key" in message.split(line, 1)[1]


def _kind(name: str) -> str | None:
    """A type of jsonargparse's in words; None for nothing at all."""
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", name):
        return f"one of {choices[1]}".replace("'", "")
    bare = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", name)
    return None if bare == "NoneType" else KINDS.get(bare, bare)
