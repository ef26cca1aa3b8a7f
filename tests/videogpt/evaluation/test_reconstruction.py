"""Clips through the tokenizer and back: any size and length, in pieces as in one, honest figures."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videogpt.evaluation import reconstruction
from videogpt.evaluation.reconstruction import reconstruct, reconstruct_clip, reconstruct_pieces
from videogpt_tokenizer import checks
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.metrics import psnr, ssim
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def levels_apart(a: Clip, b: Clip) -> torch.Tensor:
    return (a.frames_THWC.int() - b.frames_THWC.int()).abs().float()


def joined(clips: Iterable[Clip]) -> torch.Tensor:
    return torch.cat([clip.frames_THWC for clip in clips])


@pytest.mark.parametrize("latents", [1, 2, 3, 8, 100])
def test_in_pieces_equals_whole(latents: int, tokenizer: VideoTokenizer, random_clip) -> None:
    clip = random_clip(33, 16, 16)
    codes_BTHW = tokenizer.encode(clip.video_CTHW()[None])
    expected = Clip.from_video(tokenizer.decode(codes_BTHW)[0], 8).frames_THWC
    parts = (Clip(part, 8) for part in clip.frames_THWC.split(latents * tokenizer.frames_at_once))
    _, results, num_codes = zip(*reconstruct_pieces(parts, tokenizer), strict=True)
    assert sum(num_codes) == codes_BTHW.numel() and joined(results).equal(expected)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 24), max_size=6, unique=True))
def test_pieces_of_any_sizes_equal_whole(tokenizer: VideoTokenizer, random_clip, cuts: list[int]) -> None:
    clip = random_clip(25, 13, 9)
    parts = clip.frames_THWC.tensor_split(sorted(cuts))
    originals, results, num_codes = zip(*reconstruct_pieces((Clip(part, 8) for part in parts), tokenizer), strict=True)
    whole, num_codes_of_whole = reconstruct_clip(clip, tokenizer)
    assert joined(originals).equal(clip.frames_THWC) and joined(results).equal(whole.frames_THWC)
    assert sum(num_codes) == num_codes_of_whole


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 13, 20), (6, 16, 9), (40, 8, 16), (40, 13, 16)])
def test_every_size_and_length_comes_back_as_from_encode_clips(shape, tokenizer: VideoTokenizer, random_clip) -> None:
    clip = random_clip(*shape)
    (codes,) = tokenizer.encode_clips([clip.video_CTHW()])
    expected = Clip.from_video(tokenizer.decode_clips([codes])[0], 8)
    result, num_codes = reconstruct_clip(clip, tokenizer)
    assert result.frames_THWC.shape == clip.frames_THWC.shape and result.fps == clip.fps
    apart = levels_apart(result, expected)
    assert apart.max() <= 1 and apart.mean() < 1e-2
    frames, height, width = shape
    counted = (math.ceil((frames - 1) / 4) + 1) * math.ceil(height / 8) * math.ceil(width / 8)
    assert num_codes == codes.codes_THW.numel() == counted


def test_frames_come_out_before_the_next_piece_is_read(tokenizer: VideoTokenizer, random_clip) -> None:
    """So that no more than a piece and a latent frame is in memory."""
    read = out = 0

    def pieces() -> Iterator[Clip]:
        nonlocal read
        for _ in range(20):
            assert read - out < 4
            read += 5
            yield random_clip(5, 8, 8)

    for original, result, _ in reconstruct_pieces(pieces(), tokenizer):
        out += len(result)
        assert len(original) == len(result) <= 4
    assert read == out == 100


def test_figures_are_those_of_the_files_written(tokenizer: VideoTokenizer, tmp_path: Path, random_clip) -> None:
    clip = random_clip(37, 24, 16)
    clip.write(tmp_path / "My clip.avi")
    (row,) = reconstruct([tmp_path / "My clip.avi"], tokenizer)
    result = reconstruct_clip(clip, tokenizer)[0]
    pair = result.video_CTHW()[None], clip.video_CTHW()[None]
    assert row.figures.psnr == pytest.approx(float(psnr(*pair)), abs=1e-3)
    assert row.figures.ssim == pytest.approx(float(ssim(*pair)), abs=1e-5)
    assert len(row.figures.psnr_T) == 37
    assert row.bits_per_pixel == pytest.approx(10 * 3 * 2 * math.log2(1000) / (37 * 24 * 16))
    assert row.path is None and row.shape == "37x24x16"


def test_files_are_numbered_on_and_named_safely(tokenizer: VideoTokenizer, tmp_path: Path, random_clip) -> None:
    random_clip(1, 8, 8).write(tmp_path / "..strange NAME.png")
    for number in ("0001", "0002"):
        (row,) = reconstruct([tmp_path / "..strange NAME.png"], tokenizer, tmp_path / "new" / "out")
        assert row.path == tmp_path / "new" / "out" / f"{number}-strange-name.mp4" and row.path.is_file()
        assert math.isnan(row.figures.ssim)  # smaller than its window
        assert "nan" not in row.line()


def test_side_by_side_is_the_original_left_of_the_reconstruction(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    clip = Clip(torch.full((5, 16, 24, 3), 200, dtype=torch.uint8), 8)
    clip.write(tmp_path / "grey.avi")
    (row,) = reconstruct([tmp_path / "grey.avi"], tokenizer, tmp_path / "out", side_by_side=True)
    assert row.path is not None and row.shape == "5x16x24"
    both = Clip.read(row.path)
    assert both.frames_THWC.shape == (5, 16, 48, 3) and both.fps == 8
    left, right = (levels_apart(Clip(half, 8), clip).mean() for half in both.frames_THWC.split(24, dim=2))
    assert left < 4 < right
    with pytest.raises(ValueError, match="side_by_side is for files"):
        next(reconstruct([tmp_path / "grey.avi"], tokenizer, side_by_side=True))


@pytest.fixture
def folder(tokenizer: VideoTokenizer, tmp_path: Path, random_clip) -> Path:
    """Three sound clips, a bad one, and a tokenizer in a folder of its own."""
    (tmp_path / "clips").mkdir()
    for index in range(3):
        random_clip(5, 16, 16).write(tmp_path / "clips" / f"{index}.avi")
    (tmp_path / "clips" / "bad.avi").write_bytes(b"no video")
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path


@pytest.fixture
def run(folder: Path, videogpt) -> Callable[..., Any]:
    """`videogpt reconstruct` with the folder's tokenizer, into `out` beside it."""
    given = ["--tokenizer", folder / "tokenizer", "--output", folder / "out"]
    return lambda *arguments, code=0: videogpt("reconstruct", *arguments, *given, code=code)


def test_a_bad_clip_of_a_folder_is_left_out_and_named(folder: Path, run) -> None:
    printed = run(folder / "clips", "--max-bad-share", 0.25)
    assert "mean (3 clips)" in printed.out
    assert "bad.avi: cannot be decoded" in printed.err and "1 of 4 clips were left out" in printed.err


@pytest.mark.parametrize("arguments", [["clips"], ["clips/0.avi", "clips/bad.avi", "--max-bad-share", "0.9"]])
def test_too_many_or_a_named_one_are_an_error_after_all_others(folder: Path, arguments, run, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    printed = run(*arguments, code=2)
    assert "0.avi (5x16x16)" in printed.out and "mean" in printed.out
    assert "bad.avi: cannot be decoded" in printed.err.splitlines()[-1]


def test_progress_tells_of_the_frames_of_a_clip(folder: Path, tokenizer: VideoTokenizer) -> None:
    told: list[int] = []
    list(reconstruct([folder / "clips" / "0.avi"], tokenizer, progress=told.append))
    assert told == [1, 5]


def test_where_nothing_is_reconstructed_nothing_is_left(folder: Path, run) -> None:
    run(folder / "clips" / "bad.avi", "--max-bad-share", 1, code=2)
    run(folder / "clips", "--size", -1, code=2)
    assert "max_bad_share=5 must lie between 0 and 1" in run(folder / "clips", "--max-bad-share", 5, code=2).err
    assert not (folder / "out").exists()


def test_an_interrupt_leaves_no_empty_folder(folder: Path, monkeypatch, run) -> None:
    monkeypatch.setattr(reconstruction, "reconstruct_pieces", Mock(side_effect=KeyboardInterrupt))
    run(folder / "clips" / "0.avi", code=130)
    assert not (folder / "out").exists()


def test_the_report_has_every_clip_and_frame_and_is_never_overwritten(folder: Path, run) -> None:
    for number in (4, 8):
        printed = run(folder / "clips", "--max-bad-share", 0.25, "--side-by-side").out
        path = folder / "out" / f"{number:04d}-figures.json"
        assert f"figures -> {path}" in printed and "PSNR by place: " in printed
        report = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
        assert report["command"].startswith("videogpt reconstruct") and report["hardware"] and report["versions"]
        assert report["protocol"]["left out"] == [str(folder / "clips" / "bad.avi")]
        assert report["protocol"]["clips that have the frame"] == [3] * 5
        rows = {row["name"]: row["value"] for row in report["rows"]}
        of_frames = [rows[f"PSNR of frame {index}"] for index in range(5)]
        assert [rows[f"PSNR at place {place}"] for place in range(5)] == pytest.approx(of_frames)
        assert rows["mean: PSNR"] == pytest.approx(sum(rows[f"{folder}/clips/{i}.avi: PSNR"] for i in range(3)) / 3)
        assert {"mean: SSIM", "mean: temporal PSNR", "mean: flicker", "PSNR of the change into frame 4"} <= rows.keys()
        assert "PSNR of the change into frame 0" not in rows


def test_a_report_of_pictures_alone_has_no_changes(folder: Path, run, random_clip) -> None:
    lines = run(random_clip(1, 8, 8).write(folder / "still.png")).out.splitlines()
    assert lines[2].startswith("PSNR by place: ") and lines[2].endswith("dB first")
    names = {row["name"] for row in json.loads((folder / "out" / "0002-figures.json").read_text())["rows"]}
    assert "PSNR of frame 0" in names and not any("change" in name or "SSIM" in name for name in names)


def only_error(printed: Any) -> str:
    (line,) = [line for line in printed.err.splitlines() if line.startswith("videogpt: error")]
    return line


def test_a_clip_that_goes_bad_on_the_way_leaves_nothing(folder: Path, run, random_clip, encode) -> None:
    """It changes size after the first pieces have been written."""
    changing, streams = folder / "joined.h264", []
    for clip in (random_clip(70, 32, 32), random_clip(9, 48, 48)):
        streams.append(encode(changing, clip.frames_THWC.numpy(), container="h264").read_bytes())
    changing.write_bytes(b"".join(streams))
    line = only_error(run(changing, code=2))
    assert line.endswith("joined.h264: the picture changes size at frame 70; give a size")
    assert not (folder / "out").exists()
    run(changing, folder / "clips" / "0.avi", code=2)
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["0001-0.mp4", "0002-figures.json"]
    assert "joined.h264 (79x16x16)" in run(changing, "--size", 16).out


def test_a_stream_cut_within_a_frame_is_one_line_and_no_file(folder: Path, run, random_clip, encode) -> None:
    cut = encode(folder / "cut.h264", random_clip(9, 32, 32).frames_THWC.numpy(), container="h264")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 9 // 10])
    line = only_error(run(cut, code=2))
    assert "cut.h264: cannot be decoded (" in line and not (folder / "out").exists()


UNREADABLE = Path("/sys/class/net/lo/speed")


@pytest.mark.skipif(not UNREADABLE.is_file(), reason="needs a file that opens and cannot be read, also by root")
def test_a_clip_that_fails_while_it_is_read_is_not_taken_for_the_output(folder: Path, run) -> None:
    line = only_error(run(UNREADABLE, code=2))
    assert f"{UNREADABLE}: " in line and "cannot write" not in line and not (folder / "out").exists()


def test_side_by_side_needs_an_output(folder: Path, videogpt) -> None:
    said = videogpt("reconstruct", folder / "clips", "--tokenizer", folder / "tokenizer", "--side-by-side", code=2).err
    assert "--side-by-side is for files: give an --output, too" in said


@pytest.mark.parametrize("suffix", [".avi", ".mp4", ".gif"])
@pytest.mark.parametrize("fps", [None, 4.0])
def test_the_first_frames_alone_are_those_of_the_whole(tokenizer, random_clip, tmp_path: Path, suffix, fps) -> None:
    path = random_clip(30, 16, 24).write(tmp_path / f"clip{suffix}")
    (whole,) = reconstruct([path], tokenizer, fps=fps)
    (first,) = reconstruct([path], tokenizer, tmp_path / "out", fps=fps, num_frames=5)
    assert first.shape == "5x16x24" and first.figures.psnr_T == whole.figures.psnr_T[:5]
    assert first.path is not None and len(Clip.read(first.path)) == 5
    (longer,) = reconstruct([path], tokenizer, fps=fps, num_frames=1000)
    assert longer.figures == whole.figures


def test_a_clip_cut_short_after_the_frames_asked_for_is_used(folder: Path, run) -> None:
    data = (folder / "clips" / "0.avi").read_bytes()
    (folder / "cut.avi").write_bytes(data[: len(data) * 4 // 5])
    assert "cut.avi: " in only_error(run(folder / "cut.avi", code=2)) and not (folder / "out").exists()
    assert "cut.avi (2x16x16)" in run(folder / "cut.avi", "--num-frames", 2).out
    protocol = json.loads((folder / "out" / "0002-figures.json").read_text())["protocol"]
    assert protocol["num_frames"] == 2 and "mirrored" in protocol["SSIM"]


@pytest.mark.parametrize("number", [0, -3])
def test_a_number_of_frames_that_cannot_be_is_refused(folder: Path, run, number: int) -> None:
    line = only_error(run(folder / "clips", "--num-frames", number, code=2))
    assert line.endswith(f"num_frames={number} must be a whole number, at least 1") and not (folder / "out").exists()


@pytest.mark.parametrize("command", ["reconstruct", "encode"])
def test_pictures_that_do_not_fit_into_memory_are_left_out(folder, random_clip, videogpt, monkeypatch, command) -> None:
    (folder / "clips" / "bad.avi").unlink()
    large = {"wide.png": (16, 4000), "tall.jpg": (4000, 16), "film.avi": (256, 256)}
    for name, size in large.items():
        random_clip(9 if name == "film.avi" else 1, *size).write(folder / "clips" / name)
    monkeypatch.setattr(checks, "free_memory", lambda: 5 * 2**20)
    given = [command, folder / "clips", "--tokenizer", folder / "tokenizer"]
    printed = "".join(videogpt(*given, "--output", folder / "out", "--max-bad-share", 0.5)).splitlines()
    for name, (height, width) in large.items():
        (line,) = [line for line in printed if line.startswith("left out: ") and name in line]
        if command == "reconstruct":
            assert f"{name}: pictures of {width} x {height} take about " in line
            assert line.endswith(" MiB, and 5 MiB are free: give a --size")
    refused = videogpt(*given, "--output", folder / "again", code=2).err
    assert "film.avi: pictures of 256 x 256 take about " in refused
