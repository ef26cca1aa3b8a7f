"""Decode a video or image file into RGB frames, holding no more than is returned. Used through `Clip`.

    frames_THWC, rate = read_frames(Path("dog.mp4"), fps=8, size=(64, 64), start=0.0, num_frames=17)
    for frames_THWC, rate in read_pieces(Path("dog.mp4"), 32, fps=None, size=None): ...

FFmpeg's libraries are given the bytes without the name, so that a name is never taken for a pattern, a
protocol or a format; play lists, subtitles and everything else that could open further files are refused. So
are pictures of more than MAX_PIXELS, before there is memory for them: a few bytes can claim any size.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, NamedTuple, TypeVar, cast

import av
import numpy as np
import torch
from av.container import InputContainer
from av.error import FFmpegError
from torch import Tensor

from videogpt_tokenizer.clips.animated_webp import is_animated_webp, webp_pictures
from videogpt_tokenizer.clips.scaling import MAX_PIXELS, MOST_PIXELS, ToRgb
from videogpt_tokenizer.clips.tar_shards import open_member
from videogpt_tokenizer.clips.truncation import is_cut_short

# T frames, H height, W width, C colours; times in seconds from the first frame of the file

DEMUXERS = (
    "mov,matroska,avi,mpeg,mpegvideo,mpegts,h264,hevc,ivf,ogg,flv,asf,gif,apng,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
MOST_FPS = 1000
INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Formats in which a jump lands on the key frame before the wanted moment, always."""

_Picture = TypeVar("_Picture")


class _Timed(NamedTuple):
    """One stored frame and the time it is on display."""

    frame: av.VideoFrame
    begin: float
    end: float


class _Source(NamedTuple):
    """An opened file: its frames in order of display, and what its header says of their rate."""

    frames: Iterable[_Timed]
    fps: float
    tick: float  # the unit of the time stamps: they are rounded to it
    is_image: bool


@dataclass
class _Seen:
    """The frames that have been decoded so far."""

    count: int = 0
    header_fps: float = 0.0
    begin: float = math.inf  # when the first of them appears
    end: float = 0.0  # when the last of them goes

    def add(self, timed: _Timed) -> None:
        self.count += 1
        self.begin, self.end = min(self.begin, timed.begin), timed.end

    def fps(self) -> float:
        """Frames per second with which they last as long as they did in the file.

        The header's rate is right but for variable rates: it is kept wherever it is right to half a frame, since it is
        exact and time stamps are rounded.
        """
        seconds = self.end - self.begin
        is_right = abs(seconds * self.header_fps - self.count) <= 0.5
        return self.header_fps if is_right or self.count == 1 or seconds <= 0 else self.count / seconds


def read_frames(
    path: Path, *, fps: float | None, size: int | tuple[int, int] | None, start: float, num_frames: int | None
) -> tuple[Tensor, float]:
    """See `Clip.read`, which this serves: frames and frames per second."""
    check_request(fps, size, start, num_frames)
    seen, data, shape_HWC = _Seen(), bytearray(), (0, 0, 3)
    for picture_HWC in _decoded(path, seen, ToRgb(path, size), fps, start, num_frames):
        data += picture_HWC.data  # grows in place: stacking a list would need the memory twice
        shape_HWC = picture_HWC.shape
    frames_THWC = torch.frombuffer(data, dtype=torch.uint8).view(seen.count, *shape_HWC)
    return frames_THWC, fps or seen.fps()


def read_pieces(
    path: Path, num_frames: int, *, fps: float | None, size: int | tuple[int, int] | None
) -> Iterator[tuple[Tensor, float]]:
    """See `Clip.read_pieces`, which this serves: the same of each piece."""
    check_request(fps, size, 0.0, num_frames)
    rate = fps
    if rate is None:  # which only the whole file tells
        seen = _Seen()
        for _ in _decoded(path, seen, lambda _: None):
            pass
        rate = seen.fps()
    pictures = _decoded(path, _Seen(), ToRgb(path, size), fps)
    while piece := list(islice(pictures, num_frames)):
        yield torch.from_numpy(np.stack(piece)), rate


def _decoded(
    path: Path,
    seen: _Seen,
    picture_of: Callable[[av.VideoFrame], _Picture],
    fps: float | None = None,
    start: float = 0.0,
    num_frames: int | None = None,
) -> Iterator[_Picture]:
    """The wanted frames, each as `picture_of` gives it; every fault of the file is a ValueError."""
    with _open_file(path) as file:
        try:
            with _open_source(file, start) as source:
                seen.header_fps = source.fps
                for timed in islice(_pick(source, fps, start), num_frames):
                    picture = picture_of(timed.frame)
                    seen.add(timed)
                    yield picture
        except (FFmpegError, EOFError) as error:
            what = f"cannot be decoded ({getattr(error, 'strerror', None) or error})"
            raise ValueError(f"{path}: {what}; is it a whole video or image of at most {MOST_PIXELS}?") from error
        if seen.count != num_frames and is_cut_short(file):
            raise ValueError(f"{path}: is cut short after {seen.count} frames; copy or convert it again")
    if not seen.count:
        remedy = f"ends before {start:g} s; give a smaller start" if start else "holds no picture"
        raise ValueError(f"{path}: {remedy}")


def check_request(
    fps: float | None, size: int | tuple[int, int] | None, start: float = 0.0, num_frames: int | None = None
) -> None:
    """ValueError where no file can give it; for jobs of many clips, before the first."""
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise ValueError(f"fps={fps} must be a positive number of frames per second, at most {MOST_FPS}")
    sides = (size, size) if isinstance(size, int) else size if size is not None else (1, 1)
    if not (isinstance(sides, tuple) and len(sides) == 2 and all(isinstance(x, int) and x > 0 for x in sides)):
        raise ValueError(f"size={size} must be one positive number of pixels or (height, width)")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ValueError(f"size={size} is more than {MOST_PIXELS}; make it smaller")
    if not (math.isfinite(start) and start >= 0):
        raise ValueError(f"start={start} must be zero or more seconds")
    if num_frames is not None and not (isinstance(num_frames, int) and num_frames > 0):
        raise ValueError(f"num_frames={num_frames} must be a whole number, at least 1")


def _open_file(path: Path) -> BinaryIO:
    file = open_member(path)
    if file is None:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file")
        if not path.is_file():
            raise ValueError(f"{path}: is not a file; give a video or image file")
        file = path.open("rb")
    if not file.read(1):
        file.close()
        raise ValueError(f"{path}: is empty (0 bytes); copy or download it again")
    file.seek(0)
    return file


@contextmanager
def _open_source(file: BinaryIO, start: float) -> Iterator[_Source]:
    """Open the file for decoding; the container is closed on the way out, whatever happens."""
    if is_animated_webp(file):
        pictures, fps = webp_pictures(file)
        frames = (_Timed(av.VideoFrame.from_ndarray(rgb_HWC, "rgb24"), *times) for rgb_HWC, *times in pictures)
        yield _Source(frames, fps, 1e-3, is_image=False)
        return
    file.seek(0)
    nameless = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
    limit = {"max_pixels": str(MAX_PIXELS)}
    with av.open(nameless, options={"format_whitelist": DEMUXERS, **limit}) as container:
        if not container.streams.video:
            what = "is cut short" if is_cut_short(file) else "has no video stream"
            raise ValueError(f"{file.name}: {what}; give a whole video or image file")
        stream = container.streams.video[0]
        height, width = stream.codec_context.height, stream.codec_context.width
        if height * width > MAX_PIXELS:
            claim = f"claims pictures of {width} x {height}, more than {MOST_PIXELS}"
            raise ValueError(f"{file.name}: {claim}; make it smaller")
        stream.codec_context.options = limit
        stream.codec_context.thread_count = 1  # data loaders run many readers side by side
        is_image = container.format.name.endswith("_pipe")
        fps = 1.0 if is_image else _average_fps(stream)
        origin = float((stream.start_time or 0) * (stream.time_base or 0))
        if start > 1 and container.format.name in INDEXED_FORMATS and stream.time_base:
            container.seek(int((origin + start) / stream.time_base), stream=stream)
        frames = _timed_frames(container, stream, origin, 1 / fps)
        yield _Source(frames, fps, float(stream.time_base or 0), is_image)


def _average_fps(stream: av.VideoStream) -> float:
    if stream.codec_context.name == "gif" and stream.frames and stream.duration and stream.time_base:
        # The header of a GIF has no rate, and the library's guess is coarse.
        return float(stream.frames / (stream.duration * stream.time_base))
    return float(stream.average_rate or stream.guessed_rate or 25)


def _timed_frames(container: InputContainer, stream: av.VideoStream, origin: float, period: float) -> Iterator[_Timed]:
    """Decode one stream. A frame without a time stamp follows the one before it."""
    decoder = stream.codec_context
    has_alpha = "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE"))
    if has_alpha and f"libvpx-{decoder.name}" in av.codecs_available:  # FFmpeg's own decoder leaves the alpha out
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(f"libvpx-{decoder.name}", "r"))
        decoder.options = {"max_pixels": str(MAX_PIXELS)}
    end = 0.0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise EOFError(f"incomplete at {end:.2f} s")
        for frame in cast(list[av.VideoFrame], decoder.decode(packet)):
            if frame.is_corrupt:  # the decoder has filled in what is missing
                raise EOFError(f"incomplete or damaged at {end:.2f} s")
            begin = end if frame.time is None else frame.time - origin
            length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else period
            end = begin + length
            yield _Timed(frame, begin, end)


def _pick(source: _Source, fps: float | None, start: float) -> Iterator[_Timed]:
    """Choose frames: all from `start` on, or the one on display at start, start + 1/fps, start + 2/fps, ...

    A wanted moment is settled as soon as a frame begins at it or after it, so no frame is decoded in vain.
    """
    # Time stamps are rounded to the file's tick: frames may be half a tick late. At most 5 ms are forgiven.
    slack = min(source.tick / 2, 5e-3) + 1e-6
    if source.is_image:
        yield from islice(source.frames, 1)
        return
    if fps is None:
        yield from (timed for timed in source.frames if timed.end > start + slack)
        return
    shown: _Timed | None = None
    picked = 0
    for timed in source.frames:
        while shown and start + picked / fps < timed.begin - slack:
            yield shown
            picked += 1
        shown = timed
        if abs(start + picked / fps - timed.begin) <= slack:
            yield timed
            picked += 1
    while shown and start + picked / fps < shown.end - slack:
        yield shown
        picked += 1
