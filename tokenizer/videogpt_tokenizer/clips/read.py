"""Decode a video or image file into RGB frames, holding no more than is returned. Used through `Clip`.

    decoded = read_frames(Path("dog.mp4"), fps=8, size=(64, 64), start=0.0, num_frames=17)
    for decoded in read_pieces(Path("dog.mp4"), 32, fps=None, size=None): ...

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
from av.video.reformatter import Interpolation, VideoReformatter
from einops import rearrange
from torch import Tensor

from videogpt_tokenizer.clips.animated_webp import MAX_PIXELS, is_animated_webp, webp_pictures
from videogpt_tokenizer.clips.truncation import is_cut_short

# T frames, H height, W width, C colours; times in seconds from the first frame of the file

FORMATS = (
    "mov,matroska,avi,mpeg,mpegvideo,mpegts,h264,hevc,ivf,ogg,flv,asf,gif,apng,"
    "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"
)
MOST_FPS = 1000
INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Formats in which a jump lands on the key frame before the wanted moment, always."""
EXACT = 0x40000 | 0x2000
"""SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT of libswscale, which older PyAV has no names for. Without them
colours are wrong by two levels of 255 on average."""
KEEP = Interpolation.BILINEAR | EXACT
SHRINK = Interpolation.AREA | EXACT
ENLARGE = Interpolation.BICUBIC | EXACT


class Decoded(NamedTuple):
    frames_THWC: Tensor  # uint8 RGB
    fps: float


class Timed(NamedTuple):
    """One stored frame and the time it is on display."""

    frame: av.VideoFrame
    begin: float
    end: float


class Source(NamedTuple):
    """An opened file: its frames in order of display, and what its header says of their rate."""

    frames: Iterable[Timed]
    fps: float
    tick: float  # the unit of the time stamps: they are rounded to it
    is_image: bool


Picture = TypeVar("Picture")


@dataclass
class Seen:
    """The frames that have been decoded so far."""

    count: int = 0
    header_fps: float = 0.0
    begin: float = math.inf
    """When the first of them appears."""
    end: float = 0.0
    """When the last of them goes."""

    def add(self, timed: Timed) -> None:
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
) -> Decoded:
    """See `Clip.read`, which this serves."""
    check_request(fps, size, start, num_frames)
    seen, data, shape_HWC = Seen(), bytearray(), (0, 0, 3)
    for picture_HWC in _decoded(path, seen, _Converter(path, size), fps, start, num_frames):
        data += picture_HWC.data  # grows in place: stacking a list would need the memory twice
        shape_HWC = picture_HWC.shape
    frames_THWC = torch.frombuffer(data, dtype=torch.uint8).view(seen.count, *shape_HWC)
    return Decoded(frames_THWC, fps or seen.fps())


def read_pieces(
    path: Path, num_frames: int, *, fps: float | None, size: int | tuple[int, int] | None
) -> Iterator[Decoded]:
    """See `Clip.read_pieces`, which this serves."""
    check_request(fps, size, 0.0, num_frames)
    rate = fps
    if rate is None:  # which only the whole file tells
        seen = Seen()
        for _ in _decoded(path, seen, lambda frame: None):
            pass
        rate = seen.fps()
    pictures = _decoded(path, Seen(), _Converter(path, size), fps)
    while piece := list(islice(pictures, num_frames)):
        yield Decoded(torch.from_numpy(np.stack(piece)), rate)


def _decoded(
    path: Path,
    seen: Seen,
    picture_of: Callable[[av.VideoFrame], Picture],
    fps: float | None = None,
    start: float = 0.0,
    num_frames: int | None = None,
) -> Iterator[Picture]:
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
            reason = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{path}: cannot be decoded ({reason}); is it a whole video or image of at most "
                f"{MAX_PIXELS // 10**6} million pixels?"
            ) from error
        if seen.count != num_frames and is_cut_short(file):
            raise ValueError(f"{path}: is cut short after {seen.count} frames; copy or convert it again")
    if not seen.count:
        remedy = f"ends before {start:g} s; give a smaller start" if start else "holds no picture"
        raise ValueError(f"{path}: {remedy}")


def check_request(
    fps: float | None, size: int | tuple[int, int] | None, start: float = 0.0, num_frames: int | None = None
) -> None:
    """Refuse what no file can give; for jobs of many clips, before the first.

    Raises:
        ValueError: a setting is out of range.
    """
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise ValueError(f"fps={fps} must be a positive number of frames per second, at most {MOST_FPS}")
    sides = (size, size) if isinstance(size, int) else size if size is not None else (1, 1)
    if not (isinstance(sides, tuple) and len(sides) == 2 and all(isinstance(x, int) and x > 0 for x in sides)):
        raise ValueError(f"size={size} must be one positive number of pixels or (height, width)")
    if sides[0] * sides[1] > MAX_PIXELS:
        raise ValueError(f"size={size} is more than {MAX_PIXELS // 10**6} million pixels; make it smaller")
    if not (math.isfinite(start) and start >= 0):
        raise ValueError(f"start={start} must be zero or more seconds")
    if num_frames is not None and not (isinstance(num_frames, int) and num_frames > 0):
        raise ValueError(f"num_frames={num_frames} must be a whole number, at least 1")


def _open_file(path: Path) -> BinaryIO:
    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    if not path.is_file():
        raise ValueError(f"{path}: is not a file; give a video or image file")
    if not path.stat().st_size:
        raise ValueError(f"{path}: is empty (0 bytes); copy or download it again")
    return path.open("rb")


@contextmanager
def _open_source(file: BinaryIO, start: float) -> Iterator[Source]:
    """Open the file for decoding; the container is closed on the way out, whatever happens."""
    if is_animated_webp(file):
        pictures = webp_pictures(file)
        frames = (Timed(av.VideoFrame.from_ndarray(rgb, "rgb24"), *time) for rgb, *time in pictures.frames)
        yield Source(frames, pictures.fps, 1e-3, is_image=False)
        return
    file.seek(0)
    nameless = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)
    limit = {"max_pixels": str(MAX_PIXELS)}
    with av.open(nameless, options={"format_whitelist": FORMATS, **limit}) as container:
        if not container.streams.video:
            what = "is cut short" if is_cut_short(file) else "has no video stream"
            raise ValueError(f"{file.name}: {what}; give a whole video or image file")
        stream = container.streams.video[0]
        height, width = stream.codec_context.height, stream.codec_context.width
        if height * width > MAX_PIXELS:
            most = f"{MAX_PIXELS // 10**6} million pixels"
            raise ValueError(f"{file.name}: claims pictures of {width} x {height}, more than {most}; make it smaller")
        stream.codec_context.options = limit
        stream.codec_context.thread_count = 1  # data loaders run many readers side by side
        is_image = container.format.name.endswith("_pipe")
        fps = 1.0 if is_image else _average_fps(stream)
        origin = float((stream.start_time or 0) * (stream.time_base or 0))
        if start > 1 and container.format.name in INDEXED_FORMATS and stream.time_base:
            container.seek(int((origin + start) / stream.time_base), stream=stream)
        frames = _timed_frames(container, stream, origin, 1 / fps)
        yield Source(frames, fps, float(stream.time_base or 0), is_image)


def _average_fps(stream: av.VideoStream) -> float:
    if stream.codec_context.name == "gif" and stream.frames and stream.duration and stream.time_base:
        # The header of a GIF has no rate, and the library's guess is coarse.
        return float(stream.frames / (stream.duration * stream.time_base))
    return float(stream.average_rate or stream.guessed_rate or 25)


def _timed_frames(container: InputContainer, stream: av.VideoStream, origin: float, period: float) -> Iterator[Timed]:
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
            yield Timed(frame, begin, end)


def _pick(source: Source, fps: float | None, start: float) -> Iterator[Timed]:
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
    shown: Timed | None = None
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


class _Converter:
    """Stored frame -> RGB picture of the wanted size, one for all. Keeps its scaling tables from frame to frame."""

    def __init__(self, path: Path, size: int | tuple[int, int] | None) -> None:
        self.path = path
        self.target_HW = (size, size) if isinstance(size, int) else size
        self.scaler = VideoReformatter()
        self.count = 0
        self.shape_HW: tuple[int, ...] = ()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        quarter_turns = round(frame.rotation / 90) % 4
        if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
            frame = _over_black(frame)
        target_HW = self.target_HW
        if target_HW and quarter_turns % 2:
            target_HW = target_HW[1], target_HW[0]
        picture_HWC = self._resized(frame, target_HW) if target_HW else self._rgb(frame, KEEP)
        picture_HWC = np.ascontiguousarray(np.rot90(picture_HWC, quarter_turns))
        if self.count and picture_HWC.shape[:2] != self.shape_HW:
            raise ValueError(f"{self.path}: the picture changes size at frame {self.count}; give a size")
        self.count, self.shape_HW = self.count + 1, picture_HWC.shape[:2]
        return picture_HWC

    def _rgb(self, frame: av.VideoFrame, how: int, width: int = 0, height: int = 0) -> np.ndarray:
        return self.scaler.reformat(
            frame, width or frame.width, height or frame.height, "rgb24", interpolation=how
        ).to_ndarray()

    def _resized(self, frame: av.VideoFrame, target_HW: tuple[int, int]) -> np.ndarray:
        """Scale until the picture covers the target, then cut out its centre."""
        height, width = target_HW
        scale = max(height / frame.height, width / frame.width)
        full_height = max(height, round(frame.height * scale))
        full_width = max(width, round(frame.width * scale))
        if full_height * full_width > max(MAX_PIXELS, height * width):
            raise ValueError(
                f"{self.path}: is {frame.width} x {frame.height}, too long and narrow to cover {width} x {height}; "
                "cut it first"
            )
        how = KEEP if scale == 1 else SHRINK if scale < 1 else ENLARGE
        picture_HWC = self._rgb(frame, how, full_width, full_height)
        top, left = (full_height - height) // 2, (full_width - width) // 2
        return picture_HWC[top : top + height, left : left + width]


def _over_black(frame: av.VideoFrame) -> av.VideoFrame:
    rgba_HWC = frame.reformat(format="rgba", interpolation=KEEP).to_ndarray().astype(np.uint16)
    colour_HWC, alpha_HW = rgba_HWC[..., :3], rgba_HWC[..., 3]
    rgb_HWC = (colour_HWC * rearrange(alpha_HW, "h w -> h w 1") + 127) // 255
    return av.VideoFrame.from_ndarray(rgb_HWC.astype(np.uint8), "rgb24")
