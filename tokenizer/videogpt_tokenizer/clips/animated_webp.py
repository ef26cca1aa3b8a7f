"""Animated WebP files: FFmpeg's libraries decode the still pictures in them, but not the animation around.

    pictures, fps = webp_pictures(file)                    # uint8 rgb_HWC, begin and end in seconds, of each, lazily
    write_webp(file, stills, durations_ms, width, height)  # stills: whole WebP files, one a frame

The container is RIFF: chunks of a four-letter name, a 32-bit size and a content padded to an even length. An
animation is `VP8X` (canvas size), `ANIM` (loop count) and one `ANMF` a frame (place, duration, how to lay it
over the canvas, and a still picture). Source: developers.google.com/speed/webp/docs/riff_container.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import av
import numpy as np

from videogpt_tokenizer.clips.scaling import KEEP, MAX_PIXELS, MOST_PIXELS

# H height, W width, C colours

ANIMATION_FLAG = 0x02  # in VP8X
ALPHA_FLAG = 0x10  # in VP8X
NO_BLENDING = 0x02  # in ANMF
CLEAR_AFTERWARDS = 0x01  # in ANMF


def is_animated_webp(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(21)
    return len(head) == 21 and head[8:16] == b"WEBPVP8X" and bool(head[20] & ANIMATION_FLAG)


def webp_pictures(file: BinaryIO) -> tuple[Iterator[tuple[np.ndarray, float, float]], float]:
    """Decode an animation on black, one picture at a time; with the average number of them per second.

    Raises av.FFmpegError, EOFError or ValueError, while iterating, at a damaged frame or where the canvas has more
    than MAX_PIXELS; frames that the file is too short for are left out.
    """
    durations = [duration_ms for _, _, duration_ms, _, _ in _frames(file)]
    return _composited(file), 1000 * len(durations) / max(sum(durations), 1)


def write_webp(file: BinaryIO, stills: Iterable[bytes], durations_ms: Iterable[int], width: int, height: int) -> None:
    """Write an endlessly repeated animation of WebP stills without alpha, each as large as the canvas."""
    canvas = _three_bytes(width - 1) + _three_bytes(height - 1)
    file.write(_riff(b""))
    file.write(_chunk(b"VP8X", bytes([ANIMATION_FLAG, 0, 0, 0]) + canvas) + _chunk(b"ANIM", bytes(6)))
    for still, duration in zip(stills, durations_ms, strict=True):
        assert still[12:15] == b"VP8", "a still without alpha has no extended header"
        place = bytes(6) + canvas + _three_bytes(duration)
        file.write(_chunk(b"ANMF", place + bytes([NO_BLENDING]) + still[12:]))
    length = file.tell()
    file.seek(4)
    file.write(struct.pack("<I", length - 8))


def _composited(file: BinaryIO) -> Iterator[tuple[np.ndarray, float, float]]:
    """Lay each still over the canvas, as its flags say."""
    file.seek(24)  # in the VP8X chunk, which comes first
    canvas_width, canvas_height = (1 + int.from_bytes(file.read(3), "little") for _ in range(2))
    if canvas_height * canvas_width > MAX_PIXELS:
        claim = f"claims {canvas_width} x {canvas_height}, more than {MOST_PIXELS}"
        raise ValueError(f"{file.name}: {claim}; make it smaller")
    canvas_HWC = np.zeros((canvas_height, canvas_width, 4), np.float32)
    begin_ms = 0
    for x, y, duration_ms, flags, still in _frames(file):
        rgba_HWC = _decode_still(still).astype(np.float32) / 255
        height, width = rgba_HWC.shape[:2]
        area_HWC = canvas_HWC[y : y + height, x : x + width]
        if area_HWC.shape != rgba_HWC.shape:
            raise ValueError(f"{file.name}: is damaged at {begin_ms / 1000:.2f} s: a frame lies outside")
        # Colours times alpha from here on: laying one over the other is then one line.
        rgba_HWC[..., :3] *= rgba_HWC[..., 3:]
        area_HWC[...] = rgba_HWC + (0 if flags & NO_BLENDING else (1 - rgba_HWC[..., 3:]) * area_HWC)
        end_ms = begin_ms + duration_ms
        yield (canvas_HWC[..., :3] * 255).round().astype(np.uint8), begin_ms / 1000, end_ms / 1000
        begin_ms = end_ms
        if flags & CLEAR_AFTERWARDS:
            area_HWC[...] = 0


def _decode_still(still: bytes) -> np.ndarray:
    if still[:4] == b"ALPH":  # a lossy still with its alpha beside it needs a file's extended header again
        start = still.index(b"VP8 ") + 14  # width and height: 14 bits each, behind tags
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", still, start))
        canvas = _three_bytes(width - 1) + _three_bytes(height - 1)
        still = _chunk(b"VP8X", bytes([ALPHA_FLAG, 0, 0, 0]) + canvas) + still
    decoder = cast(av.VideoCodecContext, av.CodecContext.create("webp", "r"))
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    frames = decoder.decode(av.Packet(_riff(still)))
    if not frames:
        raise EOFError("a frame of the animation is incomplete")
    return frames[0].reformat(format="rgba", interpolation=KEEP).to_ndarray()


def _frames(file: BinaryIO) -> Iterator[tuple[int, int, int, int, bytes]]:
    """The ANMF chunks: x, y, duration in ms, flags and the still; one that the file is too short for ends it."""
    position = 12
    while True:
        file.seek(position)
        name, size = file.read(4), int.from_bytes(file.read(4), "little")
        position += 8 + size + size % 2
        if not name:
            return
        if name == b"ANMF":
            content = file.read(size)
            if len(content) < max(size, 24):
                return
            x, y, duration = (int.from_bytes(content[i : i + 3], "little") for i in (0, 3, 12))
            yield 2 * x, 2 * y, duration, content[15], content[16:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _riff(chunks: bytes) -> bytes:
    return _chunk(b"RIFF", b"WEBP" + chunks)


def _three_bytes(value: int) -> bytes:
    return value.to_bytes(3, "little")
