"""Tokenizers are described once they have loaded; altered ones are refused, and exports are told from them."""

from pathlib import Path

import pytest
import torch

from videogpt.inspection.inspect import inspect_path
from videogpt.pipeline.saved_model import SavedModel, save_model
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def test_weights_that_are_no_numbers_are_no_tokenizer(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    spoiled = VideoTokenizer(tokenizer.config)
    with torch.no_grad():
        spoiled.decoder.last_weight[0, 0] = torch.nan
    spoiled.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="decoder.to_patches.2.weight holds values that are not finite"):
        inspect_path(tmp_path)


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


def test_a_model_by_level(tiny_model_by_level: SavedModel, tiny_model: SavedModel, tmp_path: Path) -> None:
    for name, model in (("levels", tiny_model_by_level), ("flat", tiny_model)):
        save_model(tmp_path / name, model)
    assert "by levels (5, 5, 3): head and embedding" in inspect_path(tmp_path / "levels").lines
    assert not any("by levels" in line for line in inspect_path(tmp_path / "flat").lines)
    assert f"{tiny_model_by_level.network.num_parameters:,} parameters" in inspect_path(tmp_path / "levels").lines[0]


def test_an_export_is_no_tokenizer_and_is_called_so(tmp_path: Path, videogpt) -> None:
    (tmp_path / "manifest.json").write_text('{"format": "videogpt-tokenizer-export"}')
    videogpt("reconstruct", tmp_path, "--tokenizer", tmp_path, code=2)
    said = videogpt("export", tmp_path, "--format", "onnx", "--output", tmp_path / "out", code=2).err
    assert "this is an export for other programs" in said
