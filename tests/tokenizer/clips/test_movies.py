"""Movies of others: odd tags, codecs nobody knows, turned pictures, oblong pixels, covers of sound files, odd rates."""

import io
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.clips.skipped import UnreadableClipError

Movie = Callable[..., Path]


@pytest.fixture
def movie(tmp_path: Path) -> Movie:
    """Writes three grey frames, 64 x 64 unless `sizes` says otherwise, one stream a size; levels tell streams apart."""

    def write(name: str, codec: str = "libx264", *, sizes=((64, 64),), aspect=None, container=None, tags=None) -> Path:
        with av.open(str(tmp_path / name), "w", format=container) as output:
            output.metadata.update(tags or {})
            for size in sizes:
                stream = output.add_stream(codec, rate=10)
                assert isinstance(stream, av.VideoStream)
                (stream.height, stream.width), stream.pix_fmt = size, "bgr0" if codec == "ffv1" else "yuv420p"
                if aspect:
                    stream.codec_context.sample_aspect_ratio = aspect
            for moment in range(3):
                for index, stream in enumerate(output.streams.video):
                    picture = np.full((stream.height, stream.width, 3), 20 + 60 * index, np.uint8)
                    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                    frame.pts = moment
                    output.mux(stream.encode(frame))
            for stream in output.streams.video:
                output.mux(stream.encode())
        return tmp_path / name

    return write


def replaced(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("name", ["tag.mp4", "tag.avi", "tag.3gp", "tag.mkv", "tag.mov", "tag.flv", "tag.wmv"])
@pytest.mark.parametrize("title", [b"caf\xe9 \xa9", b"\x83\x65\x83X\x83g", b"\xff\xfe\0"])
def test_tags_may_be_in_any_encoding(movie: Movie, name: str, title: bytes) -> None:
    codec = {".avi": "ffv1", ".flv": "flv", ".wmv": "wmv2", ".3gp": "mpeg4"}.get(name[3:], "libx264")
    letters = "ABCDEFGH"[: len(title)]
    path = movie(name, codec, tags={"title": letters})
    encoding = "utf-16-le" if name.endswith("wmv") else "ascii"
    old = letters.encode(encoding)
    replaced(path, old, title.ljust(len(old), b"\xdc"))
    assert len(Clip.read(path)) == 3


@pytest.mark.parametrize("comment", [b"\xa9 test", b"\x80", b"gr\xfc\xdfe"])
def test_comments_of_a_gif_may_be_in_any_encoding(smooth_clip: Clip, tmp_path: Path, cases: Path, comment) -> None:
    path = smooth_clip.write(tmp_path / "comment.gif")
    expected, data = Clip.read(path).frames_THWC, path.read_bytes()
    start = 13 + 3 * 2 ** (1 + (data[10] & 7)) if data[10] & 0x80 else 13
    path.write_bytes(data[:start] + b"\x21\xfe" + bytes([len(comment)]) + comment + b"\0" + data[start:])
    assert Clip.read(path).frames_THWC.equal(expected)
    assert len(Clip.read(cases / "comment-latin1.gif")) == 3


CODECS = [("u.mp4", "libx264", b"avc1", b"zzz9"), ("u.avi", "mpeg4", b"FMP4", b"zzz9")]
CODECS += [("u.mkv", "libx264", b"V_MPEG4/ISO/AVC", b"V_ZZZZZ/ZZZ/ZZZ"), ("u.mov", "libx264", b"avc1", b"zzz9")]


@pytest.mark.parametrize("name, codec, old, new", CODECS)
def test_a_codec_that_nobody_knows_is_one_bad_clip(movie: Movie, cases: Path, name: str, codec: str, old, new) -> None:
    for path in (replaced(movie(name, codec), old, new), cases / "unknown-codec.mp4"):
        for request in ({}, {"num_frames": 1}, {"fps": 8, "size": 16}):
            with pytest.raises(ValueError, match=f"{path}: has a video stream whose codec FFmpeg does not know"):
                Clip.read(path, **request)
        with pytest.raises(ValueError, match=f"{path}: has a video stream"):
            next(Clip.read_pieces(path, 2))


@pytest.mark.parametrize(
    "fault",
    [
        AttributeError("no"),
        UnicodeDecodeError("utf-8", b"\xa9", 0, 1, "bad"),
        KeyError(3),
        MemoryError(),
        OSError("odd"),
    ],
)
@pytest.mark.parametrize("name", ["clip.mp4", "still.jpg"])
def test_whatever_a_library_raises_names_the_file(clip_file: Path, tmp_path: Path, monkeypatch, fault, name) -> None:
    path = tmp_path / name
    if name == "clip.mp4":
        path.write_bytes(clip_file.read_bytes())
    else:
        Clip.read(clip_file, num_frames=1).write(path)

    def fails(*_, **__) -> None:
        raise fault

    monkeypatch.setattr("videogpt_tokenizer.clips.scaling.VideoReformatter", lambda: type("", (), {"reformat": fails}))
    with pytest.raises(UnreadableClipError, match=f"{path}: cannot be decoded"):
        Clip.read(path)
    with pytest.raises(UnreadableClipError, match=f"{path}: cannot be decoded"):
        list(Clip.read_pieces(path, 1))
    fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Clip.read(path)


def test_a_fault_of_the_disk_names_the_file(clip_file: Path, monkeypatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("videogpt_tokenizer.clips.read._open_file", lambda path: Failing(b"x"))
    with pytest.raises(UnreadableClipError, match=f"^{clip_file}: Input/output error$"):
        Clip.read(clip_file)


def test_what_is_done_with_pieces_is_not_reading_them(clip_file: Path) -> None:
    with pytest.raises(KeyError):
        for _ in Clip.read_pieces(clip_file, 2):
            raise KeyError


EIGHT = [(a, 0, 0, d) for a, d in product((1, -1), repeat=2)] + [(0, b, c, 0) for b, c in product((1, -1), repeat=2)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".3gp"])
@pytest.mark.parametrize("a, b, c, d", EIGHT)
def test_display_matrices_are_obeyed(smooth_clip: Clip, tmp_path: Path, suffix: str, a, b, c, d) -> None:
    data = bytearray(smooth_clip.write(tmp_path / "upright.mp4").read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data[start : start + 36] = struct.pack(">9i", *numbers)
    (tmp_path / f"turned{suffix}").write_bytes(data)
    upright = Clip.read(tmp_path / "upright.mp4").frames_THWC
    columns, rows = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="xy")
    x, y = a * columns + c * rows, b * columns + d * rows  # where the standard puts a pixel, but for an offset
    expected = torch.empty(9, *((64, 48) if b else (48, 64)), 3, dtype=torch.uint8)
    expected[:, y - y.min(), x - x.min()] = upright
    assert Clip.read(tmp_path / f"turned{suffix}").frames_THWC.equal(expected)


def test_a_mirrored_film_is_not_upside_down(cases: Path, tmp_path: Path) -> None:
    data = (cases / "mirrored.mp4").read_bytes()
    matrix = [1 << 16, 0, 0, 0, 1 << 16]
    mirrored = struct.pack(">5i", -matrix[0], *matrix[1:])
    (tmp_path / "upright.mp4").write_bytes(data.replace(mirrored, struct.pack(">5i", *matrix)))
    upright = Clip.read(tmp_path / "upright.mp4").frames_THWC
    assert Clip.read(cases / "mirrored.mp4").frames_THWC.equal(upright.flip(2))


HOLDERS = [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.mov", "mpeg4"), ("a.avi", "mpeg4"), ("a.ts", "libx264")]
HOLDERS += [("a.wmv", "wmv2"), ("a.mpg", "mpeg2video")]


@pytest.mark.parametrize("name, codec", HOLDERS)
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(3, 4), Fraction(16, 11)])
def test_pixels_come_out_square(movie: Movie, name: str, codec: str, aspect: Fraction) -> None:
    clip = Clip.read(path := movie(name, codec, aspect=aspect))
    with av.open(str(path)) as container:  # MPEG-2 knows but a few shapes of the whole picture
        aspect = container.streams.video[0].sample_aspect_ratio or Fraction(1)
    expected = (64, round(64 * aspect)) if aspect > 1 else (round(64 / aspect), 64)
    assert (clip.height, clip.width) == expected
    assert Clip.read(path, size=(16, 24)).frames_THWC.shape == (3, 16, 24, 3)


def extent(picture_HWC: torch.Tensor) -> tuple[int, int]:
    """Height and width of what is bright."""
    bright_HW = picture_HWC.float().mean(-1) > 127
    return int(bright_HW.any(1).sum()), int(bright_HW.any(0).sum())


@pytest.mark.parametrize("size", [None, 96, (48, 120), (150, 90)])
@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(1, 2), Fraction(4, 3)])
def test_a_circle_stays_a_circle(tmp_path: Path, size, aspect: Fraction) -> None:
    height, width = 128, 128
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - 63.5) * float(aspect)) ** 2 + (rows - 63.5) ** 2 < 12**2
    picture = np.where(inside[..., None], 255, 0).astype(np.uint8).repeat(3, axis=-1)
    path = tmp_path / "circle.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=8, options={"crf": "5"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts = 0
        output.mux([*stream.encode(frame), *stream.encode()])
    bright = extent(Clip.read(path, size=size).frames_THWC[0])
    assert abs(bright[0] - bright[1]) <= 2 and min(bright) > 10


def test_the_circle_of_a_camera_is_one(cases: Path) -> None:
    for size in (None, 64):
        bright = extent(Clip.read(cases / "anamorphic-circle.mp4", size=size).frames_THWC[0])
        assert abs(bright[0] - bright[1]) <= 2 + bright[0] // 20


@pytest.mark.parametrize("aspect", [(1, 100), (0, 1), (255, 1), (1281, 1280)])
def test_absurd_shapes_of_pixels_are_ignored(movie: Movie, aspect: tuple[int, int]) -> None:
    path = replaced(
        movie("a.mp4", aspect=Fraction(2)), b"pasp" + struct.pack(">II", 2, 1), b"pasp" + struct.pack(">II", *aspect)
    )
    with av.open(str(path)) as container:
        stated = container.streams.video[0].sample_aspect_ratio
    shown = Clip.read(path).frames_THWC.shape
    assert shown == (3, 64, 64 * 2 if stated == 2 else 64, 3)


def a_cover() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("name, codec", [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.mka", "aac"), ("a.mp3", "libmp3lame")])
def test_the_cover_of_a_sound_file_is_no_video(tmp_path: Path, cases: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w") as output:
        sound = output.add_stream(codec, rate=44100)
        assert isinstance(sound, av.AudioStream)
        cover = None
        if "mk" in name:
            output.add_attachment("cover.jpg", "image/jpeg", a_cover())
        else:
            cover = output.add_stream("mjpeg", rate=1)
            assert isinstance(cover, av.VideoStream)
            cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
            cover.disposition = Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.int16), "s16", "mono")
        frame.sample_rate = 44100
        output.mux([*sound.encode(frame), *sound.encode()])
        if cover:
            packet = av.Packet(a_cover())
            packet.stream, packet.pts, packet.dts, packet.time_base = cover, 0, 0, Fraction(1)
            output.mux(packet)
    for path in (tmp_path / name, cases / "sound-with-cover.mp4"):
        with pytest.raises(ValueError, match=f"{path}: has no video stream"):
            Clip.read(path, num_frames=1)


@pytest.mark.parametrize("name", ["s.mp4", "s.mkv", "s.ts"])
def test_of_several_streams_the_largest_is_meant(movie: Movie, name: str) -> None:
    clip = Clip.read(movie(name, sizes=((32, 48), (64, 96), (48, 32))))
    assert clip.frames_THWC.shape == (3, 64, 96, 3) and abs(clip.frames_THWC.float().mean() - 80) < 2


def timed(path: Path, ticks: int, moments: list[int]) -> Path:
    """A movie whose header claims `ticks` frames a second, with frames at those moments."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=ticks)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = 32
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, ticks)
        for moment in moments:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 99, np.uint8), "rgb24")
            frame.pts, frame.time_base, frame.duration = moment, Fraction(1, ticks), max(1, moments[-1] // len(moments))
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


@pytest.mark.parametrize("name, ticks", [("r.mp4", 90_000), ("r.mov", 600_000), ("r.mp4", 12_800)])
def test_absurd_rates_are_not_believed(tmp_path: Path, name: str, ticks: int) -> None:
    sound = timed(tmp_path / name, ticks, [i * ticks // 10 for i in range(9)])
    assert Clip.read(sound).fps == pytest.approx(10, rel=0.2) and len(Clip.read(sound)) == 9
    single = Clip.read(timed(tmp_path / name, ticks, [0]))
    assert (len(single), single.fps) == (1, 25)
    damaged = timed(tmp_path / name, ticks, list(range(9)))
    with pytest.raises(ValueError, match=f"{damaged}: claims over 1000 frames a second"):
        Clip.read(damaged)
    assert Clip.read(damaged, fps=8).fps == 8


@pytest.mark.parametrize("fps", [None, 8])
def test_a_frame_that_stands_for_ages_is_refused(tmp_path: Path, fps: int | None) -> None:
    path = timed(tmp_path / "ages.mkv", 1000, [0, 100, 20_000_000])
    with pytest.raises(ValueError, match=r"ages\.mkv: shows one frame for \d+ s after"):
        Clip.read(path, fps=fps, size=16)


# The animated PNG: frames that are laid over each other by their `dispose_op` and `blend_op`.

Layer = tuple[np.ndarray, int, int, int, int]  # rgba_HWC, x, y, dispose_op, blend_op


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def animated_png(layers: list[Layer], height: int, width: int, default: np.ndarray | None) -> bytes:
    def pixels(rgba_HWC: np.ndarray) -> bytes:
        return zlib.compress(b"".join(b"\0" + row.tobytes() for row in rgba_HWC))

    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    data += chunk(b"acTL", struct.pack(">II", len(layers), 0))
    data += chunk(b"IDAT", pixels(default)) if default is not None else b""
    number = 0
    for index, (rgba_HWC, x, y, dispose, blend) in enumerate(layers):
        size = rgba_HWC.shape[1::-1]
        data += chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, *size, x, y, 1, 10, dispose, blend))
        number += 1
        if index == 0 and default is None:
            data += chunk(b"IDAT", pixels(rgba_HWC))
        else:
            data += chunk(b"fdAT", struct.pack(">I", number) + pixels(rgba_HWC))
            number += 1
    return data + chunk(b"IEND", b"")


def composited(layers: list[Layer], height: int, width: int) -> np.ndarray:
    """What the specification says (www.w3.org/TR/png-3, fcTL), on black, in floats."""
    canvas_HWC, shown = np.zeros((height, width, 4)), []
    for index, (rgba_HWC, x, y, dispose, blend) in enumerate(layers):
        before_HWC, layer_HWC = canvas_HWC.copy(), rgba_HWC / 255
        layer_HWC[..., :3] *= layer_HWC[..., 3:]
        area_HWC = canvas_HWC[y : y + layer_HWC.shape[0], x : x + layer_HWC.shape[1]]
        area_HWC[...] = layer_HWC + (area_HWC * (1 - layer_HWC[..., 3:]) if blend else 0)
        shown.append(255 * canvas_HWC[..., :3])
        if dispose == 1 or (dispose == 2 and index == 0):  # there is nothing before the first one
            area_HWC[...] = 0
        elif dispose == 2:
            canvas_HWC = before_HWC
    return np.stack(shown)


@pytest.mark.parametrize("alpha", ["none", "on or off", "any"])
@pytest.mark.parametrize("has_default", [False, True])
def test_an_animated_png_is_laid_together_as_the_specification_says(tmp_path: Path, alpha: str, has_default) -> None:
    """FFmpeg does. Pillow 13 differs in 212 of 300 such files: in most with `dispose_op` 2, and where alpha blends."""
    generator, (height, width) = np.random.default_rng(0), (12, 16)
    for trial in range(20):
        layers: list[Layer] = []
        for index in range(5):
            h, w = (height, width) if index == 0 else generator.integers(1, (height + 1, width + 1))
            rgba_HWC = generator.integers(0, 256, (h, w, 4)).astype(np.uint8)
            if alpha != "any":
                rgba_HWC[..., 3] = 255 if alpha == "none" else rgba_HWC[..., 3] // 128 * 255
            y, x = (int(generator.integers(0, side)) for side in (height - h + 1, width - w + 1))
            layers.append((rgba_HWC, x, y, int(generator.integers(0, 3)), int(generator.integers(0, 2))))
        default = generator.integers(0, 256, (height, width, 4)).astype(np.uint8) if has_default else None
        (tmp_path / "a.png").write_bytes(animated_png(layers, height, width, default))
        clip = Clip.read(tmp_path / "a.png")
        assert (len(clip), clip.fps) == (5, 10), trial
        assert np.abs(clip.frames_THWC.numpy() - composited(layers, height, width)).max() <= 3, trial
