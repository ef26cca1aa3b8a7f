"""Describes documents: JSON and YAML files that videogpt writes or reads.

    describe_document(Path("figures.json"))

What is not sound JSON or YAML, or is of something else, is refused.
"""

from pathlib import Path
from typing import Any

from videogpt.inspection.found import Inspection
from videogpt_tokenizer.files.json_files import parse_json

SUFFIXES = (".json", ".yaml", ".yml")


def describe_document(path: Path) -> Inspection:
    """A report, a record of a sample, a part of a folder or the configuration of a run.

    Raises:
        ValueError: it is damaged, or nothing that is known here.
        OSError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = parse_json(text) if path.suffix == ".json" else _yaml(text)
    except ValueError as error:
        raise ValueError(f"{path} is not sound {path.suffix[1:].upper()} ({error}): copy it again") from error
    content = content if isinstance(content, dict) else {}
    for describe in (_report, _sample, _part_of_folder, _run_config):
        if lines := describe(path, content):
            return Inspection(lines)
    raise ValueError(
        f"{path} is sound, but nothing of videogpt's: known are reports, records of samples and configurations of runs"
    )


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _report(path: Path, content: dict[str, Any]) -> list[str]:
    if not {"command", "hardware", "versions", "protocol", "rows"} <= content.keys():
        return []
    return [f"{path}: report with {len(content['rows'])} figures", f"made by: {content['command']}"]


def _sample(path: Path, content: dict[str, Any]) -> list[str]:
    if not {"prompt", "seed", "file", "sampling"} <= content.keys():
        return []
    return [f"{path}: record of the sample {content['file']}", f"prompt: {content['prompt']!r}, seed {content['seed']}"]


def _part_of_folder(path: Path, content: dict[str, Any]) -> list[str]:
    if not str(content.get("format")).startswith("videogpt-"):
        return []
    return [f"{path}: {path.name} of a {content['format']}; inspect the folder to have all of it checked"]


def _run_config(path: Path, content: dict[str, Any]) -> list[str]:
    model, data = (content.get(key) for key in ("model", "data"))
    if not isinstance(model, dict) or not isinstance(data, dict):
        return []
    trained, on = (part.get("class_path", "what the command line says") for part in (model, data))
    return [f"{path}: configuration of a run, for videogpt fit --config {path}", f"trains {trained} on {on}"]
