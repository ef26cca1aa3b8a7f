"""Describes documents: JSON and YAML files that videogpt writes or reads.

    describe_document(Path("figures.json"))

What is not sound JSON or YAML, or is of something else, is refused.
"""

from pathlib import Path
from typing import Any

import yaml

from videogpt.inspection import Inspection
from videogpt_tokenizer.files.json_files import parse_json

SUFFIXES = (".json", ".yaml", ".yml")


def describe_document(path: Path) -> Inspection:
    """A report, a record of a sample, a part of a folder or the configuration of a run."""
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_json(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        what = " ".join(str(error).split())
        raise ValueError(f"{path} is not sound {path.suffix[1:].upper()} ({what}): copy it again") from error
    lines = _what_it_is(path, content) if isinstance(content, dict) else []
    if not lines:
        known = "reports, records of samples and configurations of runs"
        raise ValueError(f"{path} is sound, but nothing of videogpt's: known are {known}")
    return Inspection(lines)


def _what_it_is(path: Path, content: dict[str, Any]) -> list[str]:
    """In words; nothing for what is not known."""
    if {"command", "hardware", "versions", "protocol", "rows"} <= content.keys():
        return [f"{path}: report with {len(content['rows'])} figures", f"made by: {content['command']}"]
    if {"prompt", "seed", "file", "sampling"} <= content.keys():
        prompt = f"prompt: {content['prompt']!r}, seed {content['seed']}"
        return [f"{path}: record of the sample {content['file']}", prompt]
    if str(content.get("format")).startswith("videogpt-"):
        return [f"{path}: {path.name} of a {content['format']}; inspect the folder to have all of it checked"]
    model, data = (content.get(key) for key in ("model", "data"))
    if isinstance(model, dict) and isinstance(data, dict):
        trained, on = (part.get("class_path", "what the command line says") for part in (model, data))
        return [f"{path}: configuration of a run, for videogpt fit --config {path}", f"trains {trained} on {on}"]
    return []
