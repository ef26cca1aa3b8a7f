"""`videogpt encode` and `decode`: clips as they are into codes and back, also under the names of version 0.1."""

from pathlib import Path

import pytest
import torch

from videogpt.cli import main
from videogpt_tokenizer.clips.clip import Clip

SHAPES = {"long": (70, 16, 24), "odd": (6, 13, 20), "one": (1, 9, 8)}
"""Frames, height and width: one in several pieces, one that nothing divides, and a single frame."""


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Lossless, each with a rate of its own, in class folders."""
    folder = tmp_path / "clips"
    for index, (name, (frames, height, width)) in enumerate(SHAPES.items()):
        (folder / f"class_{index}").mkdir(parents=True)
        pixels = torch.randint(0, 256, (frames, height, width, 3), dtype=torch.uint8)
        Clip(pixels, 5 + index).write(folder / f"class_{index}" / f"{name}.avi")
    return folder


@pytest.mark.parametrize(
    ("there", "back"), [(["encode"], "decode"), (["tokenize", "--num-frames", "all"], "detokenize")]
)
def test_clips_come_back_as_long_and_as_fast_as_they_were(there, back, clips, model_folder, tmp_path, capsys):
    whole, output = tmp_path / "whole", tmp_path / "again"
    assert main([*there, str(clips), "--tokenizer", str(model_folder), "--output", str(whole)]) == 0
    assert "codes of 3 whole clips" in capsys.readouterr().out
    assert main(["inspect", str(whole)]) == 0
    assert "frames: 1 to 70" in capsys.readouterr().out
    assert main([back, str(whole), "--tokenizer", str(model_folder), "--output", str(output)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"class_0/long.avi (70x16x24) -> {output / '0001-long.mp4'}"
    written = sorted(output.iterdir())
    assert [path.name for path in written] == ["0001-long.mp4", "0002-odd.mp4", "0003-one.mp4"]
    assert [len(Clip.read(path)) for path in written] == [70, 6, 1]
    assert [Clip.read(path).fps for path in written[:2]] == [5, 6]


def test_both_ways_to_ask_for_it_write_the_same(clips, model_folder, tmp_path):
    given = [str(clips), "--tokenizer", str(model_folder), "--size", "16x8", "--fps", "2.5", "--output"]
    assert main(["encode", *given, str(tmp_path / "new")]) == 0
    assert main(["tokenize", "--num-frames", "all", *given, str(tmp_path / "old")]) == 0
    new, old = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("new", "old"))
    assert new == old and new.keys() == {"manifest.json", "codes.npy", "clips.jsonl"}


def test_what_cannot_be_read_is_left_out_and_named(clips, model_folder, tmp_path, capsys):
    (clips / "class_1" / "broken.avi").write_bytes(b"RIFF, or not")
    given = ["encode", str(clips), "--tokenizer", str(model_folder), "--output", str(tmp_path / "whole")]
    assert main(given) == 2 and not (tmp_path / "whole").exists()
    assert "max_bad_share" in capsys.readouterr().err
    assert main([*given, "--max-bad-share", "0.5"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["left out: class_1/broken.avi", f"{tmp_path / 'whole'}: codes of 3 whole clips"]


@pytest.mark.parametrize("flag", [["--clips-per-source", "2"], ["--batch-size", "4"]])
def test_what_is_for_windows_is_refused(flag: list[str], clips: Path, tmp_path: Path, capsys) -> None:
    given = ["--tokenizer", "natural", "--num-frames", "all", "--output", str(tmp_path / "whole")]
    assert main(["tokenize", str(clips), *given, *flag]) == 2
    assert flag[0] in capsys.readouterr().err and not (tmp_path / "whole").exists()
