"""Mistakes in the arguments and configuration files of a run, each said in one line.

    check_config_files(["--config", "tiny.yaml", "--trainer.max_steps=3"])
    raise ValueError(one_line(str(error)))         # of an error that jsonargparse raised

Knows no setting: jsonargparse knows which there are, and of which type.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

_TYPES_IN_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
}
_NOISE = r"Does not validate|Subtypes:|Errors:|Given value|Parser key|Expected an? "


def check_config_files(args: Sequence[str]) -> None:
    """ValueError where a file given with `--config` is missing, no text, no YAML, or holds no settings by name."""
    for _, _, path in config_files(args):
        if not path.is_file():
            raise ValueError(f"config {path} is not there, or no file: give a YAML file such as those in configs/")
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"config {path} is no text: give a YAML file such as those in configs/") from error
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            problem = getattr(error, "problem", " ".join(str(error).split()))
            where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
            raise ValueError(f"config {path} is no YAML: {where}{problem}") from error
        if not isinstance(settings, dict):
            found = "is empty" if settings is None else f"holds a {type(settings).__name__}"
            raise ValueError(f"config {path} {found}: it must hold settings by name, as the files in configs/ do")


def config_files(args: Sequence[str]) -> Iterator[tuple[int, str, Path]]:
    """Files given with `--config`: number of the argument that names it, what stands before its path there, path."""
    for index, (before, arg) in enumerate(zip(["", *args], args, strict=False)):
        if before in ("-c", "--config"):
            yield index, "", Path(arg)
        elif arg.startswith("--config="):
            yield index, "--config=", Path(arg.removeprefix("--config="))


def one_line(message: str) -> str:
    """What an error of jsonargparse's is about, with the key of the setting.

    Its own message goes through every level above the setting, and through every type that the setting may have.
    """
    if missing := re.search(r"arguments are required: \w+\.([\w.]+)", message):
        return f"{missing[1]} is not set: give it in a file with --config, or as a flag"
    key = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    lines = [re.sub(r"^- ", "", line.strip()) for line in message.splitlines()]
    facts = [line for line in lines if not re.match(_NOISE, line) and not _leads_deeper(line, message)]
    rest = " ".join(dict.fromkeys(facts))  # one fact may be there for several types
    if not rest:
        expected = re.findall(r"Expected an? (.+?)(?:\. Got value: .*|: .*)?$", message, re.M)
        value = re.search(r"(?:Got|Given) value: (?:NestedArg\(.*val='(.*)'\)|(.*))", message)
        found = (value[1] or value[2]) if value else "the value"
        rest = f"{found} does not fit, it must be {' or '.join(filter(None, map(_type_in_words, expected)))}"
    return f"{key}: {rest}" if key else rest


def _leads_deeper(line: str, message: str) -> bool:
    """Whether the line only names a class on the way to the setting that is wrong."""
    return line.startswith("Problem with given class_path") and "Parser key" in message.split(line, 1)[1]


def _type_in_words(name: str) -> str | None:
    """A type as jsonargparse writes it, in words; None for NoneType."""
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", name):
        return f"one of {choices[1]}".replace("'", "")
    bare = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", name)
    return None if bare == "NoneType" else _TYPES_IN_WORDS.get(bare, bare)
