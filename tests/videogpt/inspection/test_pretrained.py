"""Tokenizers are described once they have loaded; altered ones are refused, and exports are told from them."""

from pathlib import Path

import pytest
import torch

from videogpt.cli import main
from videogpt.inspection.inspect import inspect_path
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def test_weights_that_are_no_numbers_are_no_tokenizer(tokenizer: VideoTokenizer, tmp_path: Path, capsys) -> None:
    spoiled = VideoTokenizer(tokenizer.config)
    with torch.no_grad():
        spoiled.decoder.last_weight[0, 0] = torch.nan
    spoiled.save_pretrained(tmp_path / "spoiled")
    assert main(["inspect", str(tmp_path / "spoiled")]) == 2
    assert "decoder.to_patches.2.weight holds values that are not finite" in capsys.readouterr().err


def test_a_video_tokenizer_and_an_altered_one(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    lines = inspect_path(tmp_path).lines
    assert "video tokenizer" in lines[0] and "1000 codes, one for 4x8x8" in lines[1]
    assert tokenizer.fingerprint() in lines[2]
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated or altered"):
        inspect_path(tmp_path)


def test_a_text_tokenizer(tmp_path: Path) -> None:
    TextTokenizer.train(["a red circle"], vocab_size=270).save(tmp_path / "text.model")
    assert "text tokenizer, 2" in inspect_path(tmp_path / "text.model").lines[0]


def test_an_export_is_no_tokenizer_and_is_called_so(tmp_path: Path, capsys) -> None:
    (tmp_path / "exported").mkdir()
    (tmp_path / "exported" / "manifest.json").write_text('{"format": "videogpt-tokenizer-export"}')
    assert main(["reconstruct", str(tmp_path), "--tokenizer", str(tmp_path / "exported")]) == 2
    assert main(["export", str(tmp_path / "exported"), "--format", "onnx", "--output", str(tmp_path / "out")]) == 2
    assert "this is an export for other programs" in capsys.readouterr().err
