"""Clips from and to files: every format, what is picked and cut out, and every way of being bad."""

import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.files.replacing import replacement_of

GreyLevels = Callable[..., Path]


def levels(clip: Clip) -> list[int]:
    """The frame numbers of a video of `grey_levels`."""
    return [round(float(frame.float().mean()) / 10) for frame in clip.frames_THWC]


def mean_error(a: Clip, b: Clip) -> float:
    return float((a.frames_THWC.float() - b.frames_THWC.float()).abs().mean())


# Writing and reading back


@pytest.mark.parametrize("suffix, tolerance", [(".mp4", 2), (".webm", 2), (".avi", 0), (".webp", 3), (".gif", 6)])
def test_video_comes_back(smooth_clip: Clip, tmp_path: Path, suffix: str, tolerance: float) -> None:
    path = smooth_clip.write(tmp_path / f"clip{suffix}")
    back = Clip.read(path)
    assert back.frames_THWC.shape == smooth_clip.frames_THWC.shape
    assert mean_error(back, smooth_clip) <= tolerance
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
def test_odd_size_is_padded_by_repeating_the_edge(
    smooth_clip: Clip, tmp_path: Path, suffix: str, size: tuple[int, int]
) -> None:
    odd = Clip(smooth_clip.frames_THWC[:, :47, :63], fps=8)
    back = Clip.read(odd.write(tmp_path / f"odd{suffix}", crf=0))
    assert (back.height, back.width) == size
    assert mean_error(Clip(back.frames_THWC[:, :47, :63], 8), odd) < 1
    edge = back.frames_THWC[:, 46:48].float()
    assert (edge[:, 0] - edge[:, -1]).abs().mean() < 3


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
def test_a_still_scene_keeps_all_its_frames(tmp_path: Path, suffix: str) -> None:
    still = Clip(torch.full((9, 32, 32, 3), 77, dtype=torch.uint8), fps=8)
    assert len(Clip.read(still.write(tmp_path / f"still{suffix}"))) == 9


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


def test_video_tensor_comes_back_exactly() -> None:
    frames_THWC = torch.arange(256, dtype=torch.uint8).repeat_interleave(3).reshape(1, 16, 16, 3)
    video_CTHW = Clip(frames_THWC, 8).video_CTHW()
    assert (float(video_CTHW.min()), float(video_CTHW.max())) == (-1, 1)
    assert Clip.from_video(video_CTHW, 8).frames_THWC.equal(frames_THWC)


def test_values_out_of_range_are_clamped() -> None:
    video_CTHW = torch.tensor([-7.0, 0.001, 7.0]).repeat(3, 1, 2, 1)
    assert Clip.from_video(video_CTHW, 8).frames_THWC[0, 0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Clip(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 8), "height, width, 3"),
        (lambda: Clip(torch.zeros(2, 8, 8, 3), 8), "uint8"),
        (lambda: Clip(torch.zeros(2, 8, 8, 3, dtype=torch.uint8), 0), "fps=0"),
        (lambda: Clip.from_video(torch.zeros(2, 3, 8, 8, 8), 8), "shape"),
        (lambda: Clip.from_video(torch.full((3, 1, 8, 8), float("nan")), 8), "NaN"),
    ],
)
def test_what_is_no_clip_is_refused(make: Callable[[], Clip], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# What is picked and cut out


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
@pytest.mark.parametrize("factor, expected", [(1, 9), (2, 18), (0.5, 5)])
def test_resampling_by_a_factor(smooth_clip: Clip, tmp_path: Path, suffix: str, factor: float, expected: int) -> None:
    path = smooth_clip.write(tmp_path / f"clip{suffix}")
    stored, resampled = Clip.read(path), Clip.read(path, fps=8 * factor)
    assert (len(resampled), resampled.fps) == (expected, 8 * factor)
    which = (torch.arange(expected) / factor).long()
    assert resampled.frames_THWC.equal(stored.frames_THWC[which])


def test_variable_rate_is_resampled_by_time(grey_levels: GreyLevels) -> None:
    path = grey_levels("variable.mp4", [0, 40, 400, 500, 1000, 1100])
    assert levels(Clip.read(path)) == [0, 1, 2, 3, 4, 5]
    assert levels(Clip.read(path, fps=10, num_frames=12)) == [0, 1, 1, 1, 2, 3, 3, 3, 3, 3, 4, 5]
    assert levels(Clip.read(path, fps=4, start=0.3, num_frames=4)) == [1, 3, 3, 4]


@pytest.mark.parametrize("suffix, codec", [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9")])
def test_variable_rate_keeps_its_duration(grey_levels: GreyLevels, suffix: str, codec: str) -> None:
    """The headers know of a rate of 1000 or 6.7; frames are on display for 1.1 s and a last frame's time."""
    path = grey_levels(f"screen{suffix}", [0, 40, 400, 500, 1000, 1100], codec=codec)
    assert Clip.read(path).duration == pytest.approx(1.1, abs=0.01)
    assert Clip.read(path, start=0.45).duration == pytest.approx(0.6, abs=0.11)


def test_time_stamps_that_do_not_begin_at_zero(grey_levels: GreyLevels) -> None:
    path = grey_levels("late.webm", [5000, 5100, 5200, 5300], codec="libvpx-vp9")
    assert levels(Clip.read(path, fps=20, num_frames=4)) == [0, 0, 1, 1]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("fps", [None, 10])
def test_start_jumps_to_the_right_frame(grey_levels: GreyLevels, suffix: str, fps: float | None) -> None:
    codec = "libx264" if suffix == ".mp4" else "libvpx-vp9"
    path = grey_levels(f"long{suffix}", range(0, 2400, 100), codec=codec)
    assert levels(Clip.read(path, fps=fps, start=1.7, num_frames=3)) == [17, 18, 19]
    assert levels(Clip.read(path, fps=fps, start=0.3, num_frames=2)) == [3, 4]


def test_size_covers_and_cuts_out_the_centre(tmp_path: Path) -> None:
    stripes_THWC = torch.zeros(1, 32, 96, 3, dtype=torch.uint8)
    for third in range(3):
        stripes_THWC[:, :, 32 * third : 32 * third + 32, third] = 255
    path = Clip(stripes_THWC, 8).write(tmp_path / "stripes.png")
    middle = Clip.read(path, size=16).frames_THWC
    assert middle.shape == (1, 16, 16, 3)
    assert middle[0, :, 1:-1].reshape(-1, 3).unique(dim=0).tolist() == [[0, 255, 0]]
    assert Clip.read(path, size=(64, 48)).frames_THWC.shape == (1, 64, 48, 3)


def test_shrinking_averages_instead_of_skipping(tmp_path: Path) -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 255
    clip = Clip(checks.to(torch.uint8)[None, :, :, None].repeat(1, 1, 1, 3), 8)
    shrunk = Clip.read(clip.write(tmp_path / "checks.png"), size=16).frames_THWC.float()
    assert shrunk.sub(127.5).abs().max() < 4


def test_alpha_of_an_image_is_laid_on_black(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., :3], rgba[:, :4, 3], rgba[:, 4:, 3] = 200, 255, 51
    Image.fromarray(rgba, "RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(rgba, "RGBA").save(tmp_path / "alpha.webp", lossless=True)
    for name in ("alpha.png", "alpha.webp"):
        row = Clip.read(tmp_path / name).frames_THWC[0, 0, :, 0]
        assert row.tolist() == [200] * 4 + [40] * 4, name


def test_alpha_of_a_video_is_laid_on_black(tmp_path: Path) -> None:
    rgba = np.full((32, 32, 4), 200, np.uint8)
    rgba[:, 16:, 3] = 0
    with av.open(str(tmp_path / "alpha.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=8)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuva420p"
        rgba[:, :16, 3] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format="yuva420p")))
        container.mux(stream.encode())
    row = Clip.read(tmp_path / "alpha.webm").frames_THWC[0, 16, :, 0].float()
    assert (row[:12] - 200).abs().max() < 6 and row[20:].max() < 6


def test_animated_webp_is_composited_as_pillow_does(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pictures = [np.zeros((40, 40, 4), np.uint8) for _ in range(5)]
    for i, picture in enumerate(pictures):
        picture[5 * i : 5 * i + 15, 4:30] = generator.integers(0, 255, (1, 26, 4))
    images = [Image.fromarray(picture, "RGBA") for picture in pictures]
    path = tmp_path / "pillow.webp"
    images[0].save(path, save_all=True, append_images=images[1:], duration=125, lossless=True, kmin=3, kmax=9)
    clip = Clip.read(path)
    assert (len(clip), clip.fps) == (5, 8)
    for i, frame_HWC in enumerate(clip.frames_THWC.numpy()):
        rgba = pictures[i].astype(float)
        assert np.abs(frame_HWC - rgba[..., :3] * rgba[..., 3:] / 255).max() <= 1.01


def test_rotation_flag_is_obeyed(smooth_clip: Clip, tmp_path: Path) -> None:
    data = bytearray(smooth_clip.write(tmp_path / "upright.mp4").read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    upright, turned = Clip.read(tmp_path / "upright.mp4"), Clip.read(tmp_path / "turned.mp4")
    # The matrix of a phone held upright: the stored picture is shown turned by 90 degrees clockwise.
    assert turned.frames_THWC.equal(upright.frames_THWC.rot90(-1, dims=(1, 2)))
    assert Clip.read(tmp_path / "turned.mp4", size=(32, 24)).frames_THWC.shape == (9, 32, 24, 3)


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


# Bad input


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
@pytest.mark.parametrize("kept", [0.95, 0.6, 0.05])
def test_a_file_that_is_cut_short_is_refused(smooth_clip: Clip, tmp_path: Path, suffix: str, kept: float) -> None:
    data = smooth_clip.write(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=f"{path}: .*(cut short|cannot be decoded|is damaged)"):
        Clip.read(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_an_image_that_is_cut_short_is_refused(smooth_clip: Clip, tmp_path: Path, suffix: str) -> None:
    path = Clip(smooth_clip.frames_THWC[:1], 8).write(tmp_path / f"still{suffix}")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match=f"{path}: .*(cut short|cannot be decoded)"):
        Clip.read(path)


def test_what_a_phone_appends_to_a_photo_does_not_matter(smooth_clip: Clip, tmp_path: Path) -> None:
    path = Clip(smooth_clip.frames_THWC[:1], 8).write(tmp_path / "photo.jpg")
    photo = Clip.read(path)
    path.write_bytes(path.read_bytes() + smooth_clip.write(tmp_path / "film.mp4").read_bytes())
    assert Clip.read(path).frames_THWC.equal(photo.frames_THWC)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_the_sound_part_of_a_cut_file_can_be_read(smooth_clip: Clip, tmp_path: Path, suffix: str) -> None:
    path = Clip(smooth_clip.frames_THWC.repeat(4, 1, 1, 1), fps=8).write(tmp_path / f"clip{suffix}")
    whole = Clip.read(path, num_frames=3)
    path.write_bytes(path.read_bytes()[:-300])
    assert Clip.read(path, num_frames=3).frames_THWC.equal(whole.frames_THWC)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("missing.mp4", None, "no such file"),
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


def test_a_folder_and_a_sound_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        Clip.read(tmp_path)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        assert isinstance(stream, av.AudioStream)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match="sound.mp4: has no video stream"):
        Clip.read(tmp_path / "sound.mp4")


@pytest.mark.parametrize("name", ["50%d off.png", "a:b.png", "file*?[1].png", "'\"\n.png", "图.png"])
def test_a_name_is_only_a_name(smooth_clip: Clip, tmp_path: Path, name: str) -> None:
    still = Clip(smooth_clip.frames_THWC[:1], 8)
    assert mean_error(Clip.read(still.write(tmp_path / name)), still) == 0


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"fps": 0}, "fps=0"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"size": 0}, "size=0"),
        ({"start": -1}, "start=-1"),
        ({"num_frames": 0}, "num_frames=0"),
        ({"start": 9}, "ends before 9 s"),
        ({"start": 9, "fps": 4}, "ends before 9 s"),
    ],
)
def test_impossible_requests_are_refused(clip_file: Path, settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Clip.read(clip_file, **settings)  # pyright: ignore[reportArgumentType]


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


def test_an_interrupt_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt), replacement_of(tmp_path / "clip.mp4") as partial:
        partial.write_bytes(b"half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"older"


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".gif", ".webp"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    resource = pytest.importorskip("resource", reason="limits the size of files as only Unix can")
    noise = Clip(torch.randint(0, 256, (9, 64, 64, 3), dtype=torch.uint8), 8)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        with pytest.raises(OSError):
            noise.write(tmp_path / f"clip{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert os.listdir(tmp_path) == []


# Real clips


def test_real_mpeg1_files(real_data: Path) -> None:
    paths = sorted((real_data / "grid_faces" / "original_mpeg1").glob("*.mpg"))
    assert paths
    for path in paths[:3]:
        clip = Clip.read(path, size=64, num_frames=17)
        assert (clip.frames_THWC.shape, clip.fps) == ((17, 64, 64, 3), 25)
