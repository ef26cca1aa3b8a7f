"""Clips to files: every format comes back, and what goes wrong leaves no file."""

import os
from pathlib import Path
from unittest.mock import Mock

import av
import pytest
import torch

from videogpt_tokenizer.clips import write
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.write import GrowingMovie


def mean_error(a: Clip, b: Clip) -> float:
    return float((a.frames_THWC.float() - b.frames_THWC.float()).abs().mean())


@pytest.mark.parametrize("suffix, tolerance", [(".mp4", 2), (".webm", 2), (".avi", 0), (".webp", 3), (".gif", 6)])
@pytest.mark.parametrize("still", [False, True])
def test_video_comes_back(smooth_clip: Clip, tmp_path: Path, suffix: str, tolerance: float, still: bool) -> None:
    """Of a still scene, too, all frames are kept."""
    clip = Clip(torch.full((9, 32, 32, 3), 77, dtype=torch.uint8), fps=8) if still else smooth_clip
    path = clip.write(tmp_path / f"clip{suffix}")
    back = Clip.read(path)
    assert back.frames_THWC.shape == clip.frames_THWC.shape
    assert mean_error(back, clip) <= tolerance
    assert back.fps == pytest.approx(8, rel=0.01)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix, tolerance", [(".png", 0), (".jpg", 1.5), (".webp", 2)])
def test_image_is_a_clip_of_one_frame(smooth_clip: Clip, tmp_path: Path, suffix: str, tolerance: float) -> None:
    still = Clip(smooth_clip.frames_THWC[:1], fps=8)
    path = still.write(tmp_path / f"still{suffix}")
    assert mean_error(Clip.read(path), still) <= tolerance
    assert len(Clip.read(path, fps=60)) == 1
    assert (Clip.read(path).fps, Clip.read(path, fps=60).fps) == (1, 60)


@pytest.mark.parametrize("suffix, size", [(".mp4", (48, 64)), (".webm", (48, 64)), (".avi", (47, 63))])
def test_odd_size_is_padded_by_repeating_the_edge(smooth_clip: Clip, tmp_path: Path, suffix: str, size) -> None:
    odd = Clip(smooth_clip.frames_THWC[:, :47, :63], fps=8)
    back = Clip.read(odd.write(tmp_path / f"odd{suffix}", crf=0))
    assert (back.height, back.width) == size
    assert mean_error(Clip(back.frames_THWC[:, :47, :63], 8), odd) < 1
    edge = back.frames_THWC[:, 46:48].float()
    assert (edge[:, 0] - edge[:, -1]).abs().mean() < 3


@pytest.mark.parametrize("fps", [30000 / 1001, 12.5, 8, 7.3])
def test_mp4_keeps_the_exact_rate(smooth_clip: Clip, tmp_path: Path, fps: float) -> None:
    path = Clip(smooth_clip.frames_THWC, fps).write(tmp_path / "clip.mp4")
    assert Clip.read(path).fps == pytest.approx(fps, rel=1e-9)


def test_mp4_is_what_browsers_play(clip_file: Path) -> None:
    with av.open(str(clip_file)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
    data = clip_file.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_lower_crf_is_nearer(smooth_clip: Clip, tmp_path: Path) -> None:
    errors = [mean_error(Clip.read(smooth_clip.write(tmp_path / "c.mp4", crf=q)), smooth_clip) for q in (0, 40)]
    assert errors[0] < 1 < 3 < errors[1]


@pytest.mark.parametrize(
    "name, fps, message",
    [
        ("clip.xyz", 8, "suffix"),
        ("clip", 8, "suffix"),
        ("clip.png", 8, "holds one frame and the clip has 9"),
        ("clip.gif", 60, "at most 50 frames per second"),
        ("nowhere/clip.mp4", 8, "no folder"),
    ],
)
def test_impossible_files_are_refused(smooth_clip: Clip, tmp_path: Path, name: str, fps: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Clip(smooth_clip.frames_THWC, fps).write(tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, full_disk, suffix: str) -> None:
    noise = Clip(torch.randint(0, 256, (9, 64, 64, 3), dtype=torch.uint8), 8)
    with pytest.raises(OSError), full_disk():
        noise.write(tmp_path / f"clip{suffix}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name, height, width", [("a.avi", 2, 2**26), ("a.mp4", 2, 20_000), ("a.webm", 2, 70_000)])
def test_a_size_that_an_encoder_refuses_is_one_line(name: str, height: int, width: int, tmp_path: Path) -> None:
    frame_THWC = torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(1, height, width, 3)
    with pytest.raises(ValueError, match=f"{name}: {width} x {height} pixels at 8 frames per second cannot be written"):
        Clip(frame_THWC, 8).write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_growing_movie_has_all_frames_but_the_last_on_the_disk(smooth_clip: Clip, tmp_path: Path) -> None:
    path, frames_THWC = tmp_path / "growing.mp4", smooth_clip.frames_THWC
    with GrowingMovie(path, frames_THWC.shape[1:3], 8.0) as movie:
        for end in range(1, len(frames_THWC) + 1):
            movie.write(frames_THWC[end - 1 : end])
            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)) == end - 1
    assert mean_error(Clip.read(path), smooth_clip) <= 2 and Clip.read(path).fps == 8
    assert os.listdir(tmp_path) == [path.name]


def test_a_growing_movie_that_fails_leaves_no_file(smooth_clip: Clip, tmp_path: Path, monkeypatch) -> None:
    size = (smooth_clip.height, smooth_clip.width)
    for name, message in [("a.gif", "only .mp4 can be played while it grows"), ("no/a.mp4", "there is no folder")]:
        with pytest.raises(ValueError, match=message):
            GrowingMovie(tmp_path / name, (32, 32), 8.0)
    monkeypatch.setattr(write, "Colorspace", Mock(spec=[]))  # it fails once the file is begun
    with pytest.raises(AttributeError):
        GrowingMovie(tmp_path / "a.mp4", size, 8.0)
    assert not os.listdir(tmp_path)
    monkeypatch.undo()
    with pytest.raises(KeyboardInterrupt), GrowingMovie(tmp_path / "a.mp4", size, 8.0) as movie:
        movie.write(smooth_clip.frames_THWC)
        with pytest.raises(ValueError, match="pixels in a movie of"):
            movie.write(smooth_clip.frames_THWC[:, 1:])
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)
