"""Reports, records and configurations are told apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from videogpt.inspection.inspect import inspect_path


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("figures.json", {"command": "x", "hardware": {}, "versions": {}, "protocol": {}, "rows": [1]}, "1 figures"),
        ("0001-a-s0.json", {"prompt": "a", "seed": 0, "file": "a.mp4", "sampling": {}}, "sample a.mp4"),
        ("config.json", {"format": "videogpt-model"}, "inspect the folder"),
        ("tiny.yaml", {"model": {"class_path": "a.B"}, "data": {}}, "configuration of a run"),
    ],
)
def test_documents(name: str, content: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(json.dumps(content))  # which is YAML too
    assert said in inspect_path(tmp_path / name).lines[0]


@pytest.mark.parametrize("name", ["deep.yaml", "deep.json", "odd.yaml"])
def test_what_is_not_sound_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a: \0" if name == "odd.yaml" else "[" * 100_000)
    with pytest.raises(ValueError, match=f"{name} is not sound") as error:
        inspect_path(tmp_path / name)
    assert "\n" not in str(error.value)
