"""`videogpt encode` and `decode`: clips as they are into codes and back, also under the names of version 0.1."""

import shutil

import pytest

from videogpt_tokenizer.clips.clip import Clip


@pytest.mark.parametrize(
    ("there", "back"), [(["encode"], "decode"), (["tokenize", "--num-frames", "all"], "detokenize")]
)
def test_clips_come_back_as_long_and_as_fast_as_they_were(there, back, odd_clips, model_folder, tmp_path, videogpt):
    whole, output = tmp_path / "whole", tmp_path / "again"
    made = videogpt(*there, odd_clips, "--tokenizer", model_folder, "--output", whole)
    assert "codes of 3 whole clips" in made.out
    assert "frames: 1 to 70" in videogpt("inspect", whole).out
    lines = videogpt(back, whole, "--tokenizer", model_folder, "--output", output).out.splitlines()
    assert lines[0] == f"class_0/long.avi (70x16x24) -> {output / '0001-long.mp4'}"
    written = sorted(output.iterdir())
    assert [path.name for path in written] == ["0001-long.mp4", "0002-odd.mp4", "0003-one.mp4"]
    assert [len(Clip.read(path)) for path in written] == [70, 6, 1]
    assert [Clip.read(path).fps for path in written[:2]] == [5, 6]


def test_both_ways_to_ask_for_it_write_the_same(odd_clips, model_folder, tmp_path, videogpt):
    given = [odd_clips, "--tokenizer", model_folder, "--size", "16x8", "--fps", 2.5, "--output"]
    videogpt("encode", *given, tmp_path / "new")
    videogpt("tokenize", "--num-frames", "all", *given, tmp_path / "old")
    new, old = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("new", "old"))
    assert new == old and new.keys() == {"manifest.json", "codes.npy", "clips.jsonl"}


def test_what_cannot_be_read_is_left_out_and_named(odd_clips, model_folder, tmp_path, videogpt):
    clips = shutil.copytree(odd_clips, tmp_path / "clips")
    (clips / "class_1" / "broken.avi").write_bytes(b"RIFF, or not")
    given = ["encode", clips, "--tokenizer", model_folder, "--output", tmp_path / "whole"]
    assert "max_bad_share" in videogpt(*given, code=2).err and not (tmp_path / "whole").exists()
    printed = videogpt(*given, "--max-bad-share", 0.5).out.splitlines()
    assert printed[0].startswith(f"left out: {clips / 'class_1' / 'broken.avi'}: cannot be decoded")
    assert printed[1:] == [f"{tmp_path / 'whole'}: codes of 3 whole clips"]


@pytest.mark.parametrize("flag", [["--clips-per-source", "2"], ["--batch-size", "4"]])
def test_what_is_for_windows_is_refused(flag, odd_clips, tmp_path, videogpt):
    given = ["--tokenizer", "natural", "--num-frames", "all", "--output", tmp_path / "whole"]
    assert flag[0] in videogpt("tokenize", odd_clips, *given, *flag, code=2).err
    assert not (tmp_path / "whole").exists()
