"""Exports are told from tokenizers."""

from pathlib import Path

from videogpt.cli import main


def test_an_export_is_no_tokenizer_and_is_called_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "manifest.json").write_text('{"format": "videogpt-tokenizer-export"}')
    assert main(["reconstruct", str(tmp_path), "--tokenizer", str(tmp_path / "exported")]) == 2
    assert main(["export", str(tmp_path / "exported"), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
    assert "this is an export for other programs" in capsys.readouterr().err
