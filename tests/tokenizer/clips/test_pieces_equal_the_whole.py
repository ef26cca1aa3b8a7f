"""Clips read and written in pieces: the same frames and files as at once, in memory that does not grow."""

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
@pytest.mark.parametrize("size, settings", [(4, {}), (3, {"size": 16}), (1, {"fps": 12}), (100, {})])
def test_pieces_joined_are_the_clip(smooth_clip: Clip, tmp_path: Path, suffix: str, size: int, settings) -> None:
    path = smooth_clip.write(tmp_path / f"clip{suffix}")
    whole, pieces = Clip.read(path, **settings), list(Clip.read_pieces(path, size, **settings))
    assert torch.cat([piece.frames_THWC for piece in pieces]).equal(whole.frames_THWC)
    assert {piece.fps for piece in pieces} == {whole.fps}
    assert all(len(piece) == size for piece in pieces[:-1]) and 0 < len(pieces[-1]) <= size


def test_every_piece_of_a_variable_rate_has_the_rate_of_the_whole(grey_levels) -> None:
    path = grey_levels("pieces.mkv", [0, 40, 400, 500, 1000, 1100])
    rates = {piece.fps for piece in Clip.read_pieces(path, 2)}
    assert rates == {Clip.read(path).fps} and 4 < rates.pop() < 7


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
@pytest.mark.parametrize("shape", [(48, 64), (47, 63)])
def test_written_in_pieces_it_is_the_same_file(smooth_clip: Clip, tmp_path: Path, suffix: str, shape) -> None:
    clip = Clip(smooth_clip.frames_THWC[:, : shape[0], : shape[1]], 8)
    pieces = [Clip(part, clip.fps) for part in clip.frames_THWC.split([1, 5, 3])]
    whole = clip.write(tmp_path / f"whole{suffix}")
    path = Clip.write_pieces(tmp_path / f"pieces{suffix}", iter(pieces))
    if suffix == ".webm":  # each has a number of its own in its header
        assert Clip.read(path).frames_THWC.equal(Clip.read(whole).frames_THWC)
    else:
        assert path.read_bytes() == whole.read_bytes()


def test_copying_in_pieces_holds_a_piece(grey_levels, tmp_path: Path) -> None:
    def peak(frames: int) -> int:
        path = grey_levels(f"long{frames}.mp4", range(0, 20 * frames, 20))
        tracemalloc.start()
        Clip.write_pieces(tmp_path / f"{frames}.mp4", Clip.read_pieces(path, 8))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sum(len(piece) for piece in Clip.read_pieces(tmp_path / f"{frames}.mp4", 64)) == frames
        return peak

    peak(20)  # what is imported on the way counts here
    assert peak(400) < 300_000  # 400 frames take 1.2 MB


def test_what_goes_wrong_on_the_way_leaves_no_file(smooth_clip: Clip, tmp_path: Path) -> None:
    def interrupted() -> Iterator[Clip]:
        yield smooth_clip
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Clip.write_pieces(tmp_path / "clip.mp4", interrupted())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "kept, num_frames, message",
    [(-200, 1, r"cut\.mp4: cannot be decoded \(incomplete at"), (None, 0, "num_frames=0"), (None, -3, "num_frames=-3")],
)
def test_a_file_that_is_cut_short_and_pieces_of_nothing_are_refused(clip_file, tmp_path, kept, num_frames, message):
    (tmp_path / "cut.mp4").write_bytes(clip_file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=message):
        next(Clip.read_pieces(tmp_path / "cut.mp4", num_frames))


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("clip.gif", lambda clip: [clip], r"must be one of \.mp4 \.webm \.avi to write in pieces"),
        ("clip.mp4", lambda clip: [], "no frames"),
        ("clip.mp4", lambda clip: [clip, Clip(clip.frames_THWC[:, :40], clip.fps)], "differ in size or rate"),
        ("clip.mp4", lambda clip: [clip, Clip(clip.frames_THWC, 9)], "differ in size or rate"),
        ("no/clip.mp4", lambda clip: [clip], "there is no folder"),
    ],
)
def test_impossible_pieces_are_refused(smooth_clip: Clip, tmp_path: Path, name: str, change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Clip.write_pieces(tmp_path / name, change(smooth_clip))
    with pytest.raises(ValueError, match="crf=99"):
        Clip.write_pieces(tmp_path / "clip.mp4", [smooth_clip], crf=99)
    assert os.listdir(tmp_path) == []
