"""Files and folders are recognised by what is in them; what is not known or damaged is an error of one line."""

from pathlib import Path

import pytest

from videogpt.cli import main
from videogpt.inspection.inspect import inspect_path


def test_a_shipped_model_by_name_unless_there_is_such_a_path(clips: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(clips.parent)
    assert main(["inspect", "shapes"]) == 0
    assert "all checksums are right" in capsys.readouterr().out
    clips.rename("shapes")
    assert main(["inspect", "shapes"]) == 0
    assert "folder of" in capsys.readouterr().out


def test_a_shipped_tokenizer_by_name(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", "natural"]) == 0
    assert "fsq: 64000 codes" in capsys.readouterr().out


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "name",
    ["folder/config.json", "folder/manifest.json", "report.json", "clips/metadata.jsonl", "shards/manifest.json"],
)
def test_json_that_is_nested_too_deeply_is_refused_in_one_line(name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(DEEP)
    place = tmp_path / name if name == "report.json" else (tmp_path / name).parent
    assert main(["inspect", str(place)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and Path(name).name in said
    if name == "folder/config.json":
        assert main(["export", str(place), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
        assert main(["reconstruct", str(place), "--tokenizer", str(place)]) == 2


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.txt", b"hello"),
        ("b.mp4", b""),
        ("c.model", b"no"),
        ("d.json", b"{}"),
        ("e.json", b"["),
        ("f.yaml", b"a: [1"),
        ("g.yaml", b"\xff"),
        ("h.csv", b"file_name,caption"),
    ],
)
def test_what_is_not_known_is_an_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=name):
        inspect_path(tmp_path / name)


def test_a_folder_of_another_kind_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no clips"):
        inspect_path(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="something unknown"):
        inspect_path(tmp_path)
