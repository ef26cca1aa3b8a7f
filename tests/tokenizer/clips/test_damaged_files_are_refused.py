"""Files that are wrong inside: cut within a frame, damaged, of changing size, or of a size that no memory holds."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt_tokenizer.clips.clip import Clip

Stream = Callable[..., bytes]
Claim = Callable[[int, Path], bytes]
MOST_MEGABYTES = 100


@pytest.fixture
def stream(encode: Callable[..., Path], tmp_path: Path) -> Stream:
    """9 frames of noise as a stream without an index: H.264 as it is or in a transport stream, or MPEG-2."""

    def make(container: str, codec: str = "libx264", size: tuple[int, int] = (48, 64)) -> bytes:
        noise = torch.randint(0, 256, (9, *size, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        return encode(tmp_path / "stream", noise.numpy(), codec, rate=25, container=container).read_bytes()

    return make


STREAMS = [("h264", "libx264"), ("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("flv", "flv")]


@pytest.mark.parametrize("kind", STREAMS, ids="-".join)
def test_no_picture_of_a_stream_that_ends_within_a_frame_is_made_up(stream: Stream, tmp_path: Path, kind) -> None:
    """What ends between two frames cannot be told from a whole stream: there is no length to hold it against."""
    data = stream(*kind)
    whole, refused = Clip.read(tmp_path / "stream").frames_THWC, 0
    for percent in range(25, 100, 3):
        (tmp_path / "cut").write_bytes(data[: len(data) * percent // 100])
        try:
            clip = Clip.read(tmp_path / "cut")
        except ValueError as error:
            refused += 1
            assert "cut: cannot be decoded (incomplete" in str(error)
        else:
            assert clip.frames_THWC.equal(whole[: len(clip)])
    assert refused >= 15  # of 25


def test_a_damaged_frame_is_refused_and_those_before_it_can_be_read(stream: Stream, tmp_path: Path) -> None:
    data = bytearray(stream("h264"))
    whole = Clip.read(tmp_path / "stream")
    middle = len(data) // 2
    data[middle : middle + 40] = bytes(byte ^ 0x5A for byte in data[middle : middle + 40])
    (tmp_path / "damaged").write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged: cannot be decoded \(incomplete or damaged at"):
        Clip.read(tmp_path / "damaged")
    assert len(whole) == 9
    assert Clip.read(tmp_path / "damaged", num_frames=1).frames_THWC.equal(whole.frames_THWC[:1])


def test_a_picture_that_changes_size_needs_a_size(stream: Stream, tmp_path: Path) -> None:
    path = tmp_path / "joined.h264"
    path.write_bytes(stream("h264") + stream("h264", size=(64, 48)))
    with pytest.raises(ValueError, match=r"joined\.h264: the picture changes size at frame 9; give a size"):
        Clip.read(path)
    with pytest.raises(ValueError, match="changes size at frame 9"):
        list(Clip.read_pieces(path, 4))
    assert Clip.read(path, size=32).frames_THWC.shape == (18, 32, 32, 3)


def png(side: int, folder: Path) -> bytes:
    """The first hundred black rows: the decoder would take memory for all."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(100 * (1 + 3 * side)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def bmp(side: int, folder: Path) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + bytes(1000)


def patched(name: str, frames: int, where: Callable[[bytes], int], numbers: Callable[[int], bytes]) -> Claim:
    """A file of 32 x 32 whose header is made to claim another size."""

    def make(side: int, folder: Path) -> bytes:
        clip = Clip(torch.randint(0, 256, (frames, 32, 32, 3)).to(torch.uint8), 8)
        data = bytearray(clip.write(folder / name).read_bytes())
        begin, claim = where(data), numbers(side)
        data[begin : begin + len(claim)] = claim
        return bytes(data)

    return make


CLAIMS: dict[str, Claim] = {
    "png": png,
    "bmp": bmp,
    "gif": patched("s.gif", 2, lambda data: 6, lambda side: struct.pack("<HH", side, side)),
    "jpg": patched("s.jpg", 1, lambda data: data.index(b"\xff\xc0") + 5, lambda side: struct.pack(">HH", side, side)),
    "avi": patched("s.avi", 2, lambda data: data.index(b"strf") + 12, lambda side: struct.pack("<ii", side, side)),
    "webp": patched("s.webp", 2, lambda data: 24, lambda side: 2 * struct.pack("<I", side - 1)[:3]),
}

MEASURED = """
import resource, sys
from videogpt_tokenizer.clips import read as clip_reader  # so that what it imports does not count
from videogpt_tokenizer.clips.clip import Clip
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        Clip.read(path)
    except ValueError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_absurd_sizes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    """What FFmpeg refuses by itself, 60,000, and what it would decode into gigabytes, 15,000."""
    pytest.importorskip("resource", reason="measures memory as only Unix can")
    paths = []
    for name, make in CLAIMS.items():
        for side in (15_000, 60_000):
            paths.append(tmp_path / f"{side}.{name}")
            paths[-1].write_bytes(make(side, tmp_path))
    command = [sys.executable, "-c", MEASURED, *map(str, paths)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for path, line in zip(paths, lines, strict=False):
        assert line.startswith(f"{path}: ") and "67 million pixels" in line
    assert len(lines) == len(paths) + 1 and int(lines[-1]) < MOST_MEGABYTES


def test_a_real_film_of_too_large_a_picture_is_refused_by_its_size(encode: Callable[..., Path], tmp_path: Path) -> None:
    black = np.zeros((8192, 8256), np.uint8)
    path = encode(tmp_path / "large.mp4", [black], kind="gray", options={"preset": "ultrafast"})
    with pytest.raises(ValueError, match=r"large\.mp4: claims pictures of 8256 x 8192, more than 67 million pixels"):
        Clip.read(path, size=64)
