"""Encode RGB frames into a video or image file, whole or not at all. Used through `Clip.write`.

    write_frames(Path("dog.mp4"), frames_THWC, fps=8, crf=18)

The file is written under a temporary name in the same folder and renamed at the end, so that a full disk, an
error or an interrupt leaves neither half a file nor a damaged older one. The source frames are converted one
at a time.
"""

import math
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from torch import Tensor

from videogpt_tokenizer.clips.animated_webp import write_webp
from videogpt_tokenizer.files.replacing import replacement_of

# T frames, H height, W width, C colours

WEBP_QUALITY = "90"
EXACT = Interpolation.BICUBIC | 0x40000 | 0x4000
"""SWS_ACCURATE_RND and SWS_FULL_CHR_H_INP of libswscale, which older PyAV has no names for."""
JPEG_QUANTISER = "2"
"""Of FFmpeg's scale from 1 (best) to 31."""
FASTEST_GIF = 50
"""Frames per second: a GIF counts hundredths of a second, and players take less than two for a mistake."""
FASTEST_WEBP = 1000
MOVIES = (".mp4", ".webm", ".avi")
"""What can be written as the frames come."""


Encoder = Callable[[Path, np.ndarray, Fraction], None]
"""Writes frames_THWC at a rate to a path."""


class Movie(NamedTuple):
    """A format with a container of FFmpeg's."""

    container: str
    codec: str
    pixels: str
    options: dict[str, str]
    container_options: dict[str, str]


def _movie(suffix: str, crf: int) -> Movie:
    if suffix == ".mp4":
        # Colour samples in the centre of their four pixels is what the scaler makes; say so.
        # Without mbtree=0 x264 sometimes writes other bytes for the same frames.
        quality = {"crf": str(crf), "chroma_sample_location": "center", "x264-params": "mbtree=0"}
        return Movie("mp4", "libx264", "yuv420p", quality, {"movflags": "+faststart"})
    if suffix == ".webm":
        quality = {"crf": str(crf), "b": "0", "deadline": "good", "cpu-used": "4"}
        return Movie("webm", "libvpx-vp9", "yuv420p", quality, {})
    return Movie("avi", "ffv1", "bgr0", {}, {})


def write_frames(path: Path, frames_THWC: Tensor, fps: float, *, crf: int) -> Path:
    """See `Clip.write`, which this serves."""
    encode = _encoder(path, frames_THWC.shape[0], fps, crf)
    _check_folder(path)
    frames = frames_THWC.cpu().numpy()
    with replacement_of(path) as partial:
        encode(partial, frames, _fraction(fps))
    return path


def write_stream(path: Path, frames: Iterable[Tensor], size_HW: tuple[int, int], fps: float, *, crf: int) -> Path:
    """See `Clip.write_pieces`, which this serves; each frame is HWC of that size."""
    suffix = path.suffix.lower()
    if suffix not in MOVIES:
        raise ValueError(f"{path}: the suffix must be one of {' '.join(MOVIES)} to write in pieces")
    _check_crf(crf)
    _check_folder(path)
    with replacement_of(path) as partial:
        arrays = (frame_HWC.cpu().numpy() for frame_HWC in frames)
        _write_movie(partial, arrays, size_HW, _fraction(fps), _movie(suffix, crf))
    return path


def _fraction(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1_000_000)


def _check_crf(crf: int) -> None:
    if not 0 <= crf <= 51:
        raise ValueError(f"crf={crf} must lie between 0 (best) and 51 (worst)")


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent} to write to; make it first")


def _encoder(path: Path, num_frames: int, fps: float, crf: int) -> Encoder:
    """The function that writes this kind of file, once the request has been found possible."""
    suffix = path.suffix.lower()
    _check_crf(crf)
    if suffix in (".png", ".jpg", ".jpeg"):
        if num_frames != 1:
            raise ValueError(f"{path}: holds one frame and the clip has {num_frames}; write .mp4, .gif or .webp")
        return _write_png if suffix == ".png" else _write_jpeg
    fastest = {".gif": FASTEST_GIF, ".webp": FASTEST_WEBP}.get(suffix, math.inf)
    if fps > fastest:
        raise ValueError(f"{path}: holds at most {fastest} frames per second, not {fps:g}; write .mp4")
    if suffix == ".gif":
        return _write_gif
    if suffix == ".webp":
        return _write_webp
    if suffix in MOVIES:
        movie = _movie(suffix, crf)
        return lambda partial, frames, rate: _write_movie(partial, frames, frames.shape[1:3], rate, movie)
    raise ValueError(f"{path}: the suffix must be one of .mp4 .webm .avi .gif .webp .png .jpg")


def _write_movie(
    path: Path, frames: Iterable[np.ndarray], size_HW: tuple[int, ...], rate: Fraction, movie: Movie
) -> None:
    height, width = size_HW
    if movie.pixels == "yuv420p":  # one colour sample for 2 x 2 pixels
        height, width = height + height % 2, width + width % 2
    with av.open(str(path), "w", format=movie.container, options=movie.container_options) as container:
        stream = cast(av.VideoStream, container.add_stream(movie.codec, rate=rate, options=movie.options))
        stream.height, stream.width = height, width
        stream.pix_fmt = movie.pixels
        stream.codec_context.time_base = 1 / rate
        if movie.pixels == "yuv420p":
            stream.codec_context.colorspace = Colorspace.SMPTE170M
            stream.codec_context.color_range = ColorRange.MPEG
        to_pixels = VideoReformatter()
        for index, frame_HWC in enumerate(frames):
            missing = [(0, height - frame_HWC.shape[0]), (0, width - frame_HWC.shape[1]), (0, 0)]
            padded_HWC = np.pad(frame_HWC, missing, mode="edge")
            container.mux(stream.encode(_frame(padded_HWC, movie.pixels, to_pixels, index, 1 / rate)))
        container.mux(stream.encode())


def _frame(
    picture_HWC: np.ndarray, pixels: str, to_pixels: VideoReformatter, index: int, period: Fraction
) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), "rgb24")
    frame = to_pixels.reformat(frame, format=pixels, interpolation=EXACT)
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
    """Lossy stills, each whole, so that a player may start at any of them."""
    height, width = frames_THWC.shape[1:3]
    options = {"quality": WEBP_QUALITY}
    stills = (_encode_still(frame_HWC, "libwebp", "yuv420p", options) for frame_HWC in frames_THWC)
    with path.open("wb") as file:
        if len(frames_THWC) == 1:
            file.write(next(stills))
            return
        moments_ms = [round(index * 1000 / rate) for index in range(len(frames_THWC) + 1)]
        write_webp(file, stills, np.diff(moments_ms).tolist(), width, height)


def _write_png(path: Path, frames_THWC: np.ndarray, rate: Fraction) -> None:
    path.write_bytes(_encode_still(frames_THWC[0], "png", "rgb24", {}))


def _write_jpeg(path: Path, frames_THWC: np.ndarray, rate: Fraction) -> None:
    options = {"qmin": "1", "qmax": JPEG_QUANTISER}
    path.write_bytes(_encode_still(frames_THWC[0], "mjpeg", "yuvj444p", options))


def _encode_still(picture_HWC: np.ndarray, codec: str, pixels: str, options: dict[str, str]) -> bytes:
    encoder = cast(av.VideoCodecContext, av.CodecContext.create(codec, "w"))
    encoder.height, encoder.width = picture_HWC.shape[:2]
    encoder.pix_fmt, encoder.time_base, encoder.options = pixels, Fraction(1), options
    frame = _frame(picture_HWC, pixels, VideoReformatter(), 0, Fraction(1))
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode()])
