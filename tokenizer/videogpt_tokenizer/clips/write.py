"""Encode RGB frames into a video or image file, whole or not at all. Used through `Clip.write`.

    write_frames(Path("dog.gif"), frames_THWC, fps=8, crf=18)
    write_movie(Path("dog.mp4"), frames, (64, 64), fps=8, crf=18)      # any number of frames, as they come
    GrowingMovie(Path("dog.mp4"), (64, 64), fps=8)                     # one that plays meanwhile

A full disk, an error or an interrupt leaves neither half a file nor a damaged older one (`files.replacing`); a growing
one is there from its first frame on. Frames are converted one at a time.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import cast

import av
import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from torch import Tensor

from videogpt_tokenizer.clips.scaling import FROM_RGB
from videogpt_tokenizer.files.replacing import replacement_of

# T frames, H height, W width, C colours

FASTEST = {".gif": 50, ".webp": 1000}
"""Frames per second: a GIF counts hundredths of a second, and players take less than two for a mistake."""
WEBP = "libwebp", "yuv420p", {"quality": "90"}
JPEG = "mjpeg", "yuvj444p", {"qmin": "1", "qmax": "2"}  # of FFmpeg's scale from 1 (best) to 31
STILLS = {".png": ("png", "rgb24", {}), ".jpg": JPEG, ".jpeg": JPEG}
"""Images: codec, pixels and options."""
MOVIES = {
    # Colour samples in the centre of their four pixels is what the scaler makes; say so.
    # Without mbtree=0 x264 sometimes writes other bytes for the same frames.
    ".mp4": ("libx264", "yuv420p", {"chroma_sample_location": "center", "x264-params": "mbtree=0"}),
    ".webm": ("libvpx-vp9", "yuv420p", {"b": "0", "deadline": "good", "cpu-used": "4"}),
    ".avi": ("ffv1", "bgr0", {}),
}
"""What can be written as the frames come, into the container of that name: as above."""


def write_frames(path: Path, frames_THWC: Tensor, fps: float, *, crf: int) -> Path:
    """See `Clip.write`, which this serves."""
    suffix, num_frames = path.suffix.lower(), len(frames_THWC)
    if suffix in MOVIES:
        return write_movie(path, frames_THWC, frames_THWC.shape[1:3], fps, crf=crf)
    if suffix in STILLS and num_frames != 1:
        raise ValueError(f"{path}: holds one frame and the clip has {num_frames}; write .mp4, .gif or .webp")
    if suffix in FASTEST and fps > FASTEST[suffix]:
        raise ValueError(f"{path}: holds at most {FASTEST[suffix]} frames per second, not {fps:g}; write .mp4")
    if suffix not in (*STILLS, *FASTEST):
        raise ValueError(f"{path}: the suffix must be one of .mp4 .webm .avi .gif .webp .png .jpg")
    _check(path, crf)
    frames = frames_THWC.cpu().numpy()
    with _encoding(path, frames.shape[1:3], fps), replacement_of(path) as partial:
        if suffix == ".gif":
            _write_gif(partial, frames, _fraction(fps))
        elif suffix == ".webp":
            _write_webp(partial, frames, _fraction(fps))
        else:
            partial.write_bytes(_encode_still(frames[0], *STILLS[suffix]))
    return path


def write_movie(path: Path, frames: Iterable[Tensor], size_HW: Sequence[int], fps: float, *, crf: int) -> Path:
    """See `Clip.write_pieces`, which this serves; each frame is HWC of that size."""
    suffix = path.suffix.lower()
    if suffix not in MOVIES:
        raise ValueError(f"{path}: the suffix must be one of {' '.join(MOVIES)} to write in pieces")
    _check(path, crf)
    with _encoding(path, size_HW, fps), replacement_of(path) as partial:
        _encode_movie(partial, frames, size_HW, _fraction(fps), suffix, crf)
    return path


def _fraction(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1_000_000)


def _check(path: Path, crf: int) -> None:
    if not 0 <= crf <= 51:
        raise ValueError(f"crf={crf} must lie between 0 (best) and 51 (worst)")
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent} to write to; make it first")


@contextmanager
def _encoding(path: Path, size_HW: Sequence[int], fps: float) -> Iterator[None]:
    """What an encoder refuses is a ValueError that names the file; faults of the disk stay what they are."""
    try:
        yield
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        what = f"{size_HW[1]} x {size_HW[0]} pixels at {fps:g} frames per second"
        raise ValueError(
            f"{path}: {what} cannot be written ({error.strerror}); choose another format or size"
        ) from error


def _encode_movie(
    path: Path, frames: Iterable[Tensor], size_HW: Sequence[int], rate: Fraction, suffix: str, crf: int
) -> None:
    for_container = {"movflags": "+faststart"} if suffix == ".mp4" else {}
    with _Encoder(path, size_HW, rate, suffix, crf, for_container) as encoder:
        for frame_HWC in frames:
            encoder.add(frame_HWC)


class _Encoder:
    """A movie that is written frame by frame."""

    def __init__(
        self,
        path: Path,
        size_HW: Sequence[int],
        rate: Fraction,
        suffix: str,
        crf: int,
        for_container: dict[str, str],
        for_codec: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        (height, width), (codec, self._pixels, options) = size_HW, MOVIES[suffix]
        options = {**options, **for_codec}
        subsampled = self._pixels == "yuv420p"  # one colour sample for 2 x 2 pixels
        if subsampled:
            height, width, options = height + height % 2, width + width % 2, {"crf": str(crf), **options}
        self._size, self._period, self._count = (height, width), 1 / rate, 0
        self._to_pixels = VideoReformatter()
        self._container = av.open(str(path), "w", format=suffix[1:], options=for_container)
        try:
            self._stream = cast(av.VideoStream, self._container.add_stream(codec, rate=rate, options=options))
            self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, self._pixels
            self._stream.codec_context.time_base = self._period
            if subsampled:
                self._stream.codec_context.colorspace = Colorspace.SMPTE170M
                self._stream.codec_context.color_range = ColorRange.MPEG
        except BaseException:
            self._container.close()
            raise

    def add(self, frame_HWC: Tensor) -> None:
        height, width = self._size
        missing = [(0, height - frame_HWC.shape[0]), (0, width - frame_HWC.shape[1]), (0, 0)]
        padded_HWC = np.pad(frame_HWC.cpu().numpy(), missing, mode="edge")
        frame = _frame(padded_HWC, self._pixels, self._to_pixels, self._count, self._period)
        self._container.mux(self._stream.encode(frame))
        self._count += 1

    def __enter__(self) -> "_Encoder":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


class GrowingMovie:
    """An MP4 that can be played while it grows: each frame is on the disk once the next one is written.

        with GrowingMovie(Path("dog.mp4"), (64, 64), fps=8) as movie:
            movie.write(frames_THWC)                # further frames, uint8

    Fragments of one frame each, so it takes some more bytes than `Clip.write` makes. An error leaves no file.
    """

    def __init__(self, path: Path, size_HW: Sequence[int], fps: float, *, crf: int = 18) -> None:
        """ValueError: a suffix other than .mp4, a rate or size that cannot be encoded, or no folder to write to."""
        if path.suffix.lower() != ".mp4":
            raise ValueError(f"{path}: only .mp4 can be played while it grows")
        _check(path, crf)
        self.path, self._shape = path, (path, size_HW, fps)
        fragments = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}
        at_once = {"tune": "zerolatency"}  # else frames wait in the encoder for those behind them
        try:
            with _encoding(*self._shape):
                self._encoder = _Encoder(path, size_HW, _fraction(fps), ".mp4", crf, fragments, at_once)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def write(self, frames_THWC: Tensor) -> None:
        """Add frames. ValueError: they are of another size than the movie. OSError: the disk is full."""
        size_HW, found_HW = tuple(self._shape[1]), tuple(frames_THWC.shape[1:3])
        if size_HW != found_HW:
            raise ValueError(f"{self.path}: frames of {found_HW} pixels in a movie of {size_HW}: scale them first")
        with _encoding(*self._shape):
            for frame_HWC in frames_THWC:
                self._encoder.add(frame_HWC)

    def __enter__(self) -> "GrowingMovie":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            with _encoding(*self._shape):
                self._encoder.__exit__(kind, *rest)
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        if kind is not None:
            self.path.unlink(missing_ok=True)


def _frame(
    picture_HWC: np.ndarray, pixels: str, to_pixels: VideoReformatter, index: int, period: Fraction
) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), "rgb24")
    frame = to_pixels.reformat(frame, format=pixels, interpolation=FROM_RGB)
    frame.pts, frame.time_base, frame.duration = index, period, 1
    return frame


def _write_gif(path: Path, frames_THWC: np.ndarray, rate: Fraction) -> None:
    """One palette for the whole clip, the best 256 colours of all its frames."""
    height, width = frames_THWC.shape[1:3]
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgb24"), time_base=1 / rate)
    split = graph.add("split")
    palette, apply = graph.add("palettegen", "stats_mode=full"), graph.add("paletteuse")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(palette, 0)
    split.link_to(apply, 1, 0)
    palette.link_to(apply, 0, 1)
    apply.link_to(sink)
    graph.configure()
    with av.open(str(path), "w", format="gif") as container:
        stream = cast(av.VideoStream, container.add_stream("gif", rate=rate))
        stream.height, stream.width, stream.pix_fmt = height, width, "pal8"
        stream.codec_context.time_base = 1 / rate
        for index, frame_HWC in enumerate(frames_THWC):
            source.push(_frame(frame_HWC, "rgb24", VideoReformatter(), index, 1 / rate))
        source.push(None)
        for _ in frames_THWC:
            container.mux(stream.encode(cast(av.VideoFrame, sink.pull())))
        container.mux(stream.encode())


def _write_webp(path: Path, frames_THWC: np.ndarray, rate: Fraction) -> None:
    """Lossy stills, each whole, so that a player may start at any of them; an animation repeats for ever.

    Pillow's encoder would join frames that are alike. The container is RIFF, chunks of a four-letter name, a size and a
    content of even length: `VP8X` (canvas), `ANIM` (loop count) and one `ANMF` (place, duration, flags and a still) a
    frame. Source: developers.google.com/speed/webp/docs/riff_container.
    """
    stills = [_encode_still(frame_HWC, *WEBP) for frame_HWC in frames_THWC]
    if len(stills) == 1:
        path.write_bytes(stills[0])
        return
    height, width = frames_THWC.shape[1:3]
    canvas = _three_bytes(width - 1) + _three_bytes(height - 1)
    chunks = [_chunk(b"VP8X", b"\x02\0\0\0" + canvas), _chunk(b"ANIM", bytes(6))]  # 2: it is an animation
    moments_ms = [round(index * 1000 / rate) for index in range(len(stills) + 1)]
    for still, duration_ms in zip(stills, np.diff(moments_ms).tolist(), strict=True):
        assert still[12:15] == b"VP8", "a still without alpha has no extended header"
        place = bytes(6) + canvas + _three_bytes(duration_ms) + b"\x02"  # 2: laid over without blending
        chunks.append(_chunk(b"ANMF", place + still[12:]))
    path.write_bytes(_chunk(b"RIFF", b"WEBP" + b"".join(chunks)))


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _three_bytes(value: int) -> bytes:
    return value.to_bytes(3, "little")


def _encode_still(picture_HWC: np.ndarray, codec: str, pixels: str, options: dict[str, str]) -> bytes:
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.height, encoder.width = picture_HWC.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.options = pixels, Fraction(1), options
    frame = _frame(picture_HWC, pixels, VideoReformatter(), 0, Fraction(1))
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode()])
