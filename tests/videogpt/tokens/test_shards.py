"""Manifests are read strictly, both kinds alike; damage to lines and codes is tested with their readers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from videogpt.tokens.shards import CodesManifest, TokenShardsManifest

MADE = {"tokenizer_fingerprint": "abc", "source": "clips", "skipped": ["a.mp4"], "versions": {"torch": "2"}}
SIZES = {"codebook_size": 75, "num_clips": 2, "grid": [3, 2, 2], "num_frames": 9, "height": 16, "width": 16, "fps": 8.0}
CONTENT = {"format": "videogpt-token-shards", "version": 1, **MADE, **SIZES}


def manifest_file(folder: Path, content: Any) -> Path:
    path = folder / "manifest.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = manifest_file(tmp_path, CONTENT)
    manifest = TokenShardsManifest.read(tmp_path)
    assert manifest.grid.height == 2
    manifest.write(tmp_path, [])
    assert json.loads(path.read_text(encoding="utf-8")) == CONTENT


@pytest.mark.parametrize(
    "change, about",
    [
        ({"version": 2}, "update videogpt-lm"),
        ({"colour": "red"}, "unknown: colour"),
        ({"codebook_size": "75"}, "codebook_size='75'"),
        ({"num_clips": 0}, "num_clips=0"),
        ({"grid": [3, 2]}, "missing 1 required"),
        ({"grid": [3, 2, -2]}, "must be whole and above 0"),
        ({"height": "16"}, "height='16'"),
        ({"fps": 0}, "fps=0 must be a number above 0"),
        ({"skipped": 3}, "skipped=3 must be a list of names"),
    ],
)
def test_what_does_not_belong_in_a_manifest_is_refused(change: dict[str, Any], about: str, tmp_path: Path) -> None:
    path = manifest_file(tmp_path, CONTENT | change)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}.*{about}"):
        TokenShardsManifest.read(tmp_path)


@pytest.mark.parametrize("content", [CONTENT, [], None])
def test_another_kind_of_folder_is_refused(content: Any, tmp_path: Path) -> None:
    manifest_file(tmp_path, content)
    with pytest.raises(ValueError, match="does not describe videogpt-clip-codes: is this the right folder"):
        CodesManifest.read(tmp_path)
