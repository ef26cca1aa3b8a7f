"""Commands say what is wrong before they work, not after."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer import Clip


def one_clip(folder: Path, caption: str) -> None:
    folder.mkdir(exist_ok=True)
    Clip(torch.zeros(5, 16, 16, 3, dtype=torch.uint8), 8.0).write(folder / "one.mp4")
    (folder / "metadata.csv").write_text(f"file_name,caption\none.mp4,{caption}\n")


@pytest.mark.parametrize(
    "command",
    [
        ["world", "shapes", "--clips", "1"],
        ["tokenize", "clips", "--num-frames", "5", "--size", "16", "--tokenizer"],
        ["encode", "clips", "--tokenizer"],
        ["reconstruct", "clips", "--tokenizer"],
        ["sample", "a", "--num-frames", "1", "--model"],
        ["train-text", "clips"],
    ],
    ids=lambda command: command[0],
)
def test_an_output_that_cannot_be_written_is_named(model_folder, command, tmp_path, monkeypatch, videogpt):
    """Nothing can be made inside a file, not even by root."""
    monkeypatch.chdir(tmp_path)
    one_clip(tmp_path / "clips", "a red circle")
    (tmp_path / "file").touch()
    model = [model_folder] if command[-1].startswith("--") else []
    last = videogpt(*command, *model, "--output", "file/out", code=2).err.splitlines()[-1]
    assert last == "videogpt: error: cannot write file/out: a file is in the way; choose another --output"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "file"]


def test_a_prompt_that_is_cut_is_told_in_one_line(model_folder, tmp_path, videogpt):
    printed = videogpt("sample", "very " * 99, "--model", model_folder, "--num-frames", 1, "--output", tmp_path)
    said = [line for line in printed.err.splitlines() if "warning" in line.lower()]
    assert len(said) == 1 and said[0].startswith("videogpt: warning: prompt 'very very ")
    assert "the first 30 are kept" in said[0]


def test_an_interrupted_sampling_leaves_no_empty_folder(model_folder, tmp_path, monkeypatch, videogpt):
    monkeypatch.setattr(Pipeline, "_frames", Mock(side_effect=KeyboardInterrupt))
    videogpt("sample", "a", "--model", model_folder, "--output", tmp_path / "deep" / "out", code=130)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place, said", [("file/report.json", "cannot write"), ("file", "exists already")])
def test_evaluate_refuses_a_report_that_it_may_not_write_before_measuring(place, said, tmp_path, videogpt):
    (tmp_path / "file").write_text("precious")
    assert said in videogpt("evaluate", "--model", "no such model", "--output", tmp_path / place, code=2).err
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("caption", ["", "a red circle"])
def test_train_text_needs_a_caption(tmp_path, videogpt, caption):
    one_clip(tmp_path, caption)
    printed = videogpt("train-text", tmp_path, "--output", tmp_path / "text.model", code=0 if caption else 2)
    assert (tmp_path / "text.model").exists() == bool(caption) == ("no clip" not in printed.err)
