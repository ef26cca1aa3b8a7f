"""Commands say what is wrong before they work, not after."""

from pathlib import Path

import pytest
import torch

from videogpt.cli import main
from videogpt.pipeline.pipeline import Pipeline
from videogpt_tokenizer import Clip


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """One clip, with a caption."""
    folder = tmp_path / "clips"
    folder.mkdir()
    Clip(torch.zeros(5, 16, 16, 3, dtype=torch.uint8), 8.0).write(folder / "one.mp4")
    (folder / "metadata.csv").write_text("file_name,caption\none.mp4,a red circle\n")
    return folder


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
def test_an_output_that_cannot_be_written_is_named(clips, model_folder, command, monkeypatch, capsys):
    """Nothing can be made inside a file, not even by root."""
    monkeypatch.chdir(clips.parent)
    (clips.parent / "file").touch()
    command = [*command, str(model_folder)] if command[-1].startswith("--") else command
    assert main([*command, "--output", "file/out"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "videogpt: error: cannot write file/out: a file is in the way; choose another --output"
    assert sorted(path.name for path in clips.parent.iterdir()) == ["clips", "file"]


def test_a_prompt_that_is_cut_is_told_in_one_line(model_folder, tmp_path, capsys):
    arguments = ["sample", "very " * 99, "--model", str(model_folder), "--num-frames", "1"]
    assert main([*arguments, "--output", str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower()]
    assert len(said) == 1 and said[0].startswith("videogpt: warning: prompt 'very very ")
    assert "the first 30 are kept" in said[0]


def test_an_interrupted_sampling_leaves_no_empty_folder(model_folder, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "_stream", interrupt)
    assert main(["sample", "a", "--model", str(model_folder), "--output", str(tmp_path / "deep" / "out")]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place, said", [("file/report.json", "cannot write"), ("file", "exists already")])
def test_evaluate_refuses_a_report_that_it_may_not_write_before_measuring(place, said, tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    assert main(["evaluate", "--model", "no such model", "--output", str(tmp_path / place)]) == 2
    assert said in capsys.readouterr().err and (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("caption", ["", "a red circle"])
def test_train_text_needs_a_caption(tmp_path, capsys, caption):
    Clip(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), 1.0).write(tmp_path / "one.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,caption\none.png,{caption}\n")
    code = main(["train-text", str(tmp_path), "--output", str(tmp_path / "text.model")])
    assert code == (0 if caption else 2)
    assert caption or "no clip" in capsys.readouterr().err
    assert (tmp_path / "text.model").exists() == bool(caption)
