"""Decode movies, GIF and PNG through FFmpeg's libraries. Used through `read.py`.

    with open_movie(file, start=0.0) as movie:
        for stored in movie.frames: ...          # `Stored`, in order of display

FFmpeg is given the bytes without the name, so that a name is never taken for a pattern, a protocol or a format; play
lists, subtitles and everything else that could open further files are refused. Tags may be in any encoding.

The largest picture is meant where there are several, but no cover of a sound file, thumbnail or tile of a larger one.
It is shown as the file says: mirrored and in quarter turns, as `ffmpeg` does by itself, and with square pixels. Refused
are codecs that FFmpeg does not know, pictures of more than MAX_PIXELS, and a frame that stands for an hour.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import BinaryIO, NamedTuple, cast

import av
from av.buffer import Buffer
from av.container import InputContainer
from av.stream import Disposition

from videogpt_tokenizer.clips.scaling import MAX_PIXELS, UPRIGHT, DecodeError, Stored, Turn, check_pixels
from videogpt_tokenizer.clips.stills import TURNS, png_pixels
from videogpt_tokenizer.clips.truncation import is_cut_short

DEMUXERS = "mov,matroska,avi,mpeg,mpegvideo,mpegts,h264,hevc,ivf,ogg,flv,asf,gif,apng,png_pipe,mp3,flac,wav"
"""Those of sound files are there to say that such a file has no video."""
INDEXED_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
"""Formats in which a jump lands on the key frame before the wanted moment, always."""
MOST_FPS = 1000
USUAL_FPS = 25.0
"""Where nothing tells the rate."""
MOST_SECONDS = 3600
"""How long a frame may be on display: whatever is said to last longer has damaged time stamps."""
MOST_PIXEL_ASPECT = 10
"""Pixels that are said to be longer than that are taken for square."""
NO_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.dependent


class Movie(NamedTuple):
    """An opened file: its frames in order of display, and what its header says of their rate."""

    frames: Iterator[Stored]
    fps: float  # 0: nothing that could be believed
    tick: float  # the unit of the time stamps: they are rounded to it
    is_image: bool


@contextmanager
def open_movie(file: BinaryIO, start: float) -> Iterator[Movie]:
    """Open the file for decoding; the container is closed on the way out, whatever happens."""
    file.seek(0)
    if file.read(3) == b"GIF" and is_cut_short(file):  # the decoder would make up what is missing of a frame
        raise DecodeError("is cut short; copy or convert it again")
    media, turn = png_pixels(file) or (file, None)
    media.seek(0)
    nameless = SimpleNamespace(read=media.read, seek=media.seek, tell=media.tell)
    limit = {"max_pixels": str(MAX_PIXELS)}
    with av.open(nameless, options={"format_whitelist": DEMUXERS, **limit}, metadata_errors="replace") as container:
        stream = _largest(container, file)
        check_pixels(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = limit
        stream.codec_context.thread_count = 1  # data loaders run many readers side by side
        is_image = container.format.name.endswith("_pipe")
        fps = 1.0 if is_image else _header_fps(stream)
        origin = float((stream.start_time or 0) * (stream.time_base or 0))
        if start > 1 and container.format.name in INDEXED_FORMATS and stream.time_base:
            container.seek(int((origin + start) / stream.time_base), stream=stream)
        frames = _timed_frames(container, stream, origin, 1 / (fps or USUAL_FPS), turn)
        yield Movie(frames, fps, float(stream.time_base or 0), is_image)


def _largest(container: InputContainer, file: BinaryIO) -> av.VideoStream:
    """The stream of the largest picture; of equals the first."""
    known = [stream for stream in container.streams.video if stream.codec_context]
    pictures = [stream for stream in known if not stream.disposition & NO_PICTURE]
    if pictures:
        return max(pictures, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
    if len(known) < len(container.streams.video):
        raise DecodeError("has a video stream whose codec FFmpeg does not know; convert it to H.264, for example")
    what = "is cut short" if is_cut_short(file) else "has no video stream"
    raise DecodeError(f"{what}; give a whole video or image file")


def _header_fps(stream: av.VideoStream) -> float:
    if stream.codec_context.name == "gif" and stream.frames == 1:
        fps = 1.0  # a picture, like any other
    elif stream.codec_context.name == "gif" and stream.frames and stream.duration and stream.time_base:
        # The header of a GIF has no rate, and the library's guess is coarse.
        fps = float(stream.frames / (stream.duration * stream.time_base))
    else:
        fps = float(stream.average_rate or stream.guessed_rate or USUAL_FPS)
    return fps if 1 / MOST_SECONDS <= fps <= MOST_FPS else 0.0


def _pixel_aspect(stream: av.VideoStream) -> float:
    aspect = float(stream.sample_aspect_ratio or 1)
    if stream.codec_context.name == "gif":  # no viewer heeds it, and what is written there has no meaning
        return 1.0
    return aspect if 1 / MOST_PIXEL_ASPECT <= aspect <= MOST_PIXEL_ASPECT else 1.0


def _timed_frames(
    container: InputContainer, stream: av.VideoStream, origin: float, period: float, turn: Turn | None
) -> Iterator[Stored]:
    """Decode one stream. A frame without a time stamp follows the one before it."""
    decoder = stream.codec_context
    has_alpha = "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE"))
    other = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(decoder.name)
    if has_alpha and other in av.codecs_available:  # FFmpeg's own decoder leaves the alpha out
        decoder = cast(av.VideoCodecContext, av.CodecContext.create(other, "r"))
        decoder.options = {"max_pixels": str(MAX_PIXELS)}
    aspect, end, is_first = _pixel_aspect(stream), 0.0, True
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise EOFError(f"incomplete at {end:.2f} s")
        for frame in cast(list[av.VideoFrame], decoder.decode(packet)):
            if frame.is_corrupt:  # the decoder has filled in what is missing
                raise EOFError(f"incomplete or damaged at {end:.2f} s")
            begin = end if frame.time is None else frame.time - origin
            length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else period
            seconds = max(length, 0 if is_first else begin + length - end)
            if seconds > MOST_SECONDS:
                raise DecodeError(f"shows one frame for {seconds:.0f} s after {end:.2f} s: its times are damaged")
            end, is_first = begin + length, False
            yield Stored(frame, begin, end, turn or _turn(frame), aspect)


def _turn(frame: av.VideoFrame) -> Turn:
    """What the display matrix says: x' = a x + c y and y' = b x + d y, in its order a b . c d, to a quarter turn."""
    try:
        matrix = cast(Mapping[str, Buffer], frame.side_data)["DISPLAYMATRIX"]
    except KeyError:
        return UPRIGHT
    except ValueError:  # beside it is something that PyAV has no name for; then it tells the angle alone
        return TURNS.get({1: 8, 2: 3, 3: 6}.get(round(frame.rotation / 90) % 4), UPRIGHT)
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    is_turned = abs(b) > abs(a)
    return Turn(is_turned, (c if is_turned else a) < 0, (b if is_turned else d) < 0)
