"""Files and folders are recognised by what is in them; what is not known or damaged is an error of one line."""

from pathlib import Path

import pytest

from videogpt.inspection.inspect import inspect_path


def test_what_is_shipped_by_name_unless_there_is_such_a_path(clips: Path, monkeypatch, videogpt) -> None:
    monkeypatch.chdir(clips.parent)
    assert "all checksums are right" in videogpt("inspect", "shapes").out
    assert "fsq: 64000 codes" in videogpt("inspect", "natural").out
    clips.rename("shapes")
    assert "folder of" in videogpt("inspect", "shapes").out


@pytest.mark.parametrize(
    "name",
    ["folder/config.json", "folder/manifest.json", "report.json", "clips/metadata.jsonl", "shards/manifest.json"],
)
def test_json_that_is_nested_too_deeply_is_refused_in_one_line(name: str, tmp_path: Path, videogpt) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("[" * 100_000)
    place = tmp_path / name if name == "report.json" else (tmp_path / name).parent
    said = videogpt("inspect", place, code=2).err
    assert said.count("\n") == 1 and Path(name).name in said
    if name == "folder/config.json":
        videogpt("export", place, "--format", "onnx", "--output", tmp_path / "out", code=2)
        videogpt("reconstruct", place, "--tokenizer", place, code=2)


UNKNOWN = {"txt": b"hello", "mp4": b"", "model": b"no", "json": b"{}", "yaml": b"a: [1", "csv": b"file_name,caption"}


@pytest.mark.parametrize("suffix, content", [*UNKNOWN.items(), ("json", b"["), ("yaml", b"\xff")])
def test_what_is_not_known_is_an_error(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"what.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=path.name):
        inspect_path(path)


def test_a_folder_of_another_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clips"):
        inspect_path(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="something unknown"):
        inspect_path(tmp_path)
