"""Clips from files: which frames are picked, and what is refused."""

import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES, Clip

GreyLevels = Callable[..., Path]


def levels(clip: Clip) -> list[int]:
    """The frame numbers of a video of `grey_levels`."""
    return [round(float(frame.float().mean()) / 10) for frame in clip.frames_THWC]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
@pytest.mark.parametrize("factor, expected", [(1, 9), (2, 18), (0.5, 5)])
def test_resampling_by_a_factor(smooth_clip: Clip, tmp_path: Path, suffix: str, factor: float, expected: int) -> None:
    path = smooth_clip.write(tmp_path / f"clip{suffix}")
    stored, resampled = Clip.read(path), Clip.read(path, fps=8 * factor)
    assert (len(resampled), resampled.fps) == (expected, 8 * factor)
    which = (torch.arange(expected) / factor).long()
    assert resampled.frames_THWC.equal(stored.frames_THWC[which])


@pytest.mark.parametrize("suffix, codec", [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9")])
def test_variable_rate_is_resampled_by_time(grey_levels: GreyLevels, suffix: str, codec: str) -> None:
    """The headers know of a rate of 1000 or 6.7; frames are on display for 1.1 s and a last frame's time."""
    path = grey_levels(f"variable{suffix}", [0, 40, 400, 500, 1000, 1100], codec=codec)
    assert Clip.read(path).duration == pytest.approx(1.1, abs=0.01)
    assert Clip.read(path, start=0.45).duration == pytest.approx(0.6, abs=0.11)
    assert levels(Clip.read(path)) == [0, 1, 2, 3, 4, 5]
    assert levels(Clip.read(path, fps=10, num_frames=12)) == [0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 4, 5]
    assert levels(Clip.read(path, fps=4, start=0.3, num_frames=4)) == [1, 3, 3, 4]


def test_time_stamps_that_do_not_begin_at_zero(grey_levels: GreyLevels) -> None:
    path = grey_levels("late.webm", [5000, 5100, 5200, 5300], codec="libvpx-vp9")
    assert levels(Clip.read(path, fps=20, num_frames=4)) == [0, 0, 1, 1]


@pytest.mark.parametrize("suffix, codec", [(".mp4", "libx264"), (".webm", "libvpx-vp9")])
@pytest.mark.parametrize("fps", [None, 10])
def test_start_jumps_to_the_right_frame(grey_levels: GreyLevels, suffix: str, codec: str, fps: float | None) -> None:
    path = grey_levels(f"long{suffix}", range(0, 2400, 100), codec=codec)
    assert levels(Clip.read(path, fps=fps, start=1.7, num_frames=3)) == [17, 18, 19]
    assert levels(Clip.read(path, fps=fps, start=0.3, num_frames=2)) == [3, 4]


def test_reading_holds_no_more_than_it_returns(grey_levels: GreyLevels) -> None:
    path = grey_levels("many.mp4", range(0, 4000, 20))
    Clip.read(path)
    tracemalloc.start()
    clip = Clip.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    few = Clip.read(path, num_frames=3)
    peak_of_few = tracemalloc.get_traced_memory()[1] - clip.frames_THWC.nbytes * 1.125
    tracemalloc.stop()
    assert (len(clip), len(few)) == (200, 3)
    assert peak < 1.25 * clip.frames_THWC.nbytes + 50_000
    assert peak_of_few < 100_000


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_files_are_closed_also_after_an_error(clip_file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(clip_file.read_bytes()[:-500])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Clip.read(clip_file, num_frames=2)
        with pytest.raises(ValueError):
            Clip.read(tmp_path / "cut.mp4")
    assert len(os.listdir("/proc/self/fd")) == before


def test_real_mpeg1_files(real_data: Path) -> None:
    paths = sorted((real_data / "grid_faces" / "original_mpeg1").glob("*.mpg"))
    assert paths
    for path in paths[:3]:
        clip = Clip.read(path, size=64, num_frames=17)
        assert (clip.frames_THWC.shape, clip.fps) == ((17, 64, 64, 3), 25)


@pytest.mark.parametrize("name", ["50%d off.png", "a:b.png", "file*?[1].png", "'\"\n.png", "图.png"])
def test_a_name_is_only_a_name(smooth_clip: Clip, tmp_path: Path, name: str) -> None:
    still = Clip(smooth_clip.frames_THWC[:1], 8)
    assert Clip.read(still.write(tmp_path / name)).frames_THWC.equal(still.frames_THWC)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("missing.mp4", None, "no such file"),
        (".", None, "is not a file"),
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"these are words and no video\n" * 50, "cannot be decoded"),
        ("notes.txt", b"a text is not a film of letters\n" * 50, "cannot be decoded"),
        ("noise.mp4", bytes(range(256)) * 40, "cannot be decoded"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\n/etc/other.mp4\n", "cannot be decoded"),
        ("parts.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "cannot be decoded"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        Clip.read(path)


def test_a_sound_file_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        assert isinstance(stream, av.AudioStream)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="sound.mp4: has no video stream"):
        Clip.read(tmp_path / "sound.mp4")


IMPOSSIBLE = {
    "fps": [0, float("nan"), 1e9],
    "size": [0, 64.5, 100_000, (64,), (8, 0)],
    "start": [-1],
    "num_frames": [0, 2.5],
}


@pytest.mark.parametrize("name, value", [(name, value) for name, values in IMPOSSIBLE.items() for value in values])
def test_impossible_requests_are_refused(clip_file: Path, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name}={value}")):
        Clip.read(clip_file, **{name: value})


@pytest.mark.parametrize("fps", [None, 4])
def test_a_start_behind_the_end_is_refused(clip_file: Path, fps: int | None) -> None:
    with pytest.raises(ValueError, match="ends before 9 s"):
        Clip.read(clip_file, start=9, fps=fps)


@pytest.mark.parametrize(
    "suffix, container, codec, pixels",
    [
        (".3gp", "3gp", "libx264", "yuv420p"), (".3g2", "3g2", "libx264", "yuv420p"),
        (".qt", "mov", "mpeg4", "yuv420p"),
        (".f4v", "f4v", "libx264", "yuv420p"), (".mk3d", "matroska", "libx264", "yuv420p"),
        (".divx", "avi", "mpeg4", "yuv420p"), (".asf", "asf", "wmv2", "yuv420p"),
        (".mpe", "mpeg", "mpeg1video", "yuv420p"), (".m2v", "mpeg2video", "mpeg2video", "yuv420p"),
        (".vob", "vob", "mpeg2video", "yuv420p"), (".m2ts", "mpegts", "libx264", "yuv420p"),
        (".mts", "mpegts", "libx264", "yuv420p"), (".m2t", "mpegts", "mpeg2video", "yuv420p"),
        (".h264", "h264", "libx264", "yuv420p"), (".hevc", "hevc", "libx265", "yuv420p"),
        (".ivf", "ivf", "libvpx", "yuv420p"), (".apng", "apng", "apng", "rgb24"),
        (".avif", "avif", "libsvtav1", "yuv420p"), (".jfif", "image2", "mjpeg", "yuvj420p"),
        (".jpe", "image2", "mjpeg", "yuvj420p"),
    ],
)  # fmt: skip
def test_every_further_suffix_is_read(encode, tmp_path: Path, suffix: str, container: str, codec: str, pixels: str):
    assert suffix in CLIP_SUFFIXES
    count = 5 if suffix not in (".avif", ".jfif", ".jpe") else 1
    pictures = [np.full((96, 128, 3), 40 * number + 40, np.uint8) for number in range(count)]
    clip = Clip.read(encode(tmp_path / f"a{suffix}", pictures, codec, rate=25, pixels=pixels, container=container))
    assert clip.frames_THWC.shape == (count, 96, 128, 3)
    levels_T = clip.frames_THWC.float().mean(dim=(1, 2, 3))
    assert levels_T.sub(torch.arange(1, count + 1) * 40).abs().max() < 4
