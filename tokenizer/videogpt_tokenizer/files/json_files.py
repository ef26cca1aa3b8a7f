"""JSON that anybody may have written, and the version that says whether it can be read here.

content = parse_json(path.read_text(encoding="utf-8"))
check_version(content, newest=1, path=path)
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def parse_json(text: str) -> Any:
    """What `json.loads` makes of it; every complaint is a ValueError, that it is nested too deeply among them."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_version(content: Mapping[str, Any], newest: int, path: Path) -> None:
    """ValueError unless the content's version is 1, which need not be said, to `newest`: others are of later times."""
    version = content.get("version", 1)
    if type(version) is not int or not 1 <= version <= newest:
        raise ValueError(f"{path}: version is {version!r}, and {newest} is the newest known here: update videogpt-lm")
