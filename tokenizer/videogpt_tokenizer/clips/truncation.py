"""Does a media file end where its own headers say it should? Demuxers often pass over a lost tail in silence.

    with open("clip.webm", "rb") as file:
        if is_cut_short(file): ...

Knows ISO media (mp4, mov), RIFF (avi), Matroska (webm, mkv) and GIF. For other formats the answer is False: MPEG
streams have no length to compare with, and the decoders of pictures notice by themselves.
"""

import os
from typing import BinaryIO

PADDING_BYTES = 4096
"""How many zeros may follow the trailer of a GIF."""


def is_cut_short(file: BinaryIO) -> bool:
    """True when the headers of the file (opened for reading bytes) promise more bytes than it has."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide"):
        return _end_of_boxes(file, length) > length
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") > length
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _end_of_segment(file) > length
    if head[:3] == b"GIF":
        file.seek(max(0, length - PADDING_BYTES))
        return not file.read().rstrip(b"\x00").endswith(b"\x3b")
    return False


def _end_of_boxes(file: BinaryIO, length: int) -> int:
    """Where the last top-level box of ISO media ends; a box is a 32-bit size, a name and its content."""
    position = 0
    while position + 8 <= length:
        file.seek(position)
        size, name = int.from_bytes(file.read(4), "big"), file.read(4)
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        if size < 8 or not name.isalnum():  # 0 means "up to the end of the file"; the rest is padding, no box
            return length
        position += size
    return position


def _end_of_segment(file: BinaryIO) -> int:
    """Where the one Segment of a Matroska file ends: an EBML header, then the Segment's id and size."""
    file.seek(4)
    header_size = _ebml_size(file)
    file.seek(header_size + 4, os.SEEK_CUR)
    segment_size = _ebml_size(file)
    return file.tell() + segment_size


def _ebml_size(file: BinaryIO) -> int:
    """An EBML number: leading zero bits count its further bytes; all ones means unknown, given as 0."""
    first = file.read(1)
    if not first or first[0] == 0:
        return 0
    num_bytes = 9 - first[0].bit_length()
    raw = first + file.read(num_bytes - 1)
    mask = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(raw, "big") & mask
    return 0 if value == mask else value
