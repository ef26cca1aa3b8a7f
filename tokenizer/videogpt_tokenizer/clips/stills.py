"""Decode the formats of pictures, and the animations that some of them hold, through Pillow. Used through `read.py`.

    opener = still_opener(file)                        # None: a movie, a GIF or a PNG, which FFmpeg reads
    frames, is_animation = still_frames(file, opener)  # one `Stored` a picture, decoded as they are asked for

JPEG, TIFF, BMP, WebP and AVIF, known by their first bytes, whatever the name says. Of a TIFF or JPEG with several
pictures the first one counts. Pillow fills nothing in: a file that is cut short anywhere is refused. So are pictures of
more than MAX_PIXELS, before there is memory for them, and numbers of 32 bits, of which nobody knows which is white.

PNG and its animations are FFmpeg's, since Pillow lays frames wrongly over each other (after DISPOSE_OP_PREVIOUS, and
where pixels are half transparent), and refuses long texts beside the picture. A PNG without its end is refused here.
"""

import os
import warnings
from collections.abc import Iterator
from io import BytesIO
from types import SimpleNamespace
from typing import BinaryIO, cast

import av
import numpy as np
from PIL import ExifTags, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from videogpt_tokenizer.clips.scaling import (
    MOST_PIXELS,
    UPRIGHT,
    DecodeError,
    Stored,
    Turn,
    check_pixels,
)

# H height, W width, C colours

SECONDS_OF_NONE = 0.1
"""How long browsers show a picture that is said to last no time."""
NOISE = bytes(range(255)) * 4
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1")
TURNS: dict[int | None, Turn] = {
    2: Turn(False, True, False),
    3: Turn(False, True, True),
    4: Turn(False, False, True),
    5: Turn(True, False, False),
    6: Turn(True, True, False),
    7: Turn(True, True, True),
    8: Turn(True, False, True),
}
"""The orientations of EXIF, but for the upright one."""

# Constructed without `Image.open`, which warns of large pictures that are refused here anyway.
Opener = type[ImageFile]

# Pillow warns of metadata, which are not used, or of damage, which is told when it fails.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def still_opener(file: BinaryIO) -> Opener | None:
    file.seek(0)
    head = file.read(64)
    if head[:3] == b"\xff\xd8\xff":
        return JpegImageFile
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return TiffImageFile
    if head[:2] == b"BM":
        return BmpImageFile
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        if head[12:16] == b"VP8X":  # the decoder takes memory for the canvas as soon as it is made
            check_pixels(*(1 + int.from_bytes(head[i : i + 3], "little") for i in (24, 27)))
        return WebPImageFile
    if head[4:8] == b"ftyp":
        brands = head[8 : int.from_bytes(head[:4], "big")]
        if b"avif" in brands or b"avis" in brands:
            return AvifImageFile
        if brands[:4] in HEIF_BRANDS:
            raise DecodeError("is a HEIF picture, which is not read; save it as JPEG or PNG")
    return None


def still_frames(file: BinaryIO, opener: Opener) -> tuple[Iterator[Stored], bool]:
    """The pictures of a file that `still_opener` knows, and whether they are an animation."""
    file.seek(0)
    try:
        image = opener(cast(BinaryIO, SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)))
    except Image.DecompressionBombError as error:
        raise DecodeError(f"claims a picture of more than {MOST_PIXELS}; make it smaller") from error
    check_pixels(*image.size)
    count = image.n_frames if isinstance(image, (WebPImageFile, AvifImageFile)) else 1
    return _pictures(file, image, count), count > 1


def png_pixels(file: BinaryIO) -> tuple[BinaryIO, Turn] | None:
    """A PNG without its metadata, which FFmpeg refuses where they are damaged, and what they say of the orientation.

    None for other files. The chunks are a size, a name, a content and a checksum.
    """
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    if (signature := file.read(8)) != b"\x89PNG\r\n\x1a\n":
        return None
    pixels, turn, name = BytesIO(), UPRIGHT, b""
    pixels.write(signature)
    while name != b"IEND" and (head := file.read(8)):
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        content = file.read(min(size + 4, length))
        if name == b"IHDR" and len(content) >= 8:
            check_pixels(int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big"))
        if name == b"eXIf":
            turn = _turn(content)
        elif name[:1].isupper() or name in (b"tRNS", b"acTL", b"fcTL", b"fdAT"):
            pixels.write(head + content)
        if len(content) < size + 4:
            break
    else:
        if name == b"IEND":
            pixels.seek(0)
            return pixels, turn
    raise DecodeError("is cut short before its end; copy or convert it again")


def _pictures(file: BinaryIO, image: ImageFile, count: int) -> Iterator[Stored]:
    begin = 0.0
    for index in range(count):
        image.seek(index)
        image.load()  # which turns a TIFF, and tells the others' times
        rgb_HWC = _rgb_HWC(image)
        if isinstance(image, JpegImageFile) and _is_filled_up(rgb_HWC, file, "progressive" in image.info):
            raise DecodeError("is cut short before its last rows; copy or convert it again")
        if isinstance(image, AvifImageFile) and count > 1:  # durations are rounded, and their sum drifts
            begin = image.info["timestamp"] / 1000
        end = begin + (image.info.get("duration", 0) / 1000 or SECONDS_OF_NONE)
        yield Stored(av.VideoFrame.from_ndarray(rgb_HWC, "rgb24"), begin, end, _turn(image))
        begin = end


def _is_filled_up(rgb_HWC: np.ndarray, file: BinaryIO, is_progressive: bool) -> bool:
    """Whether a JPEG has its end marker too early: the decoder fills the picture up with one colour and says nothing.

    Then whatever stands before that marker becomes part of the picture; in a sound one it is passed over. A progressive
    one that ends between two passes over the picture is sound, only coarse.
    """
    if not is_progressive and (rgb_HWC[-1, -2:] != rgb_HWC[-1, -1]).any():
        return False
    file.seek(0)
    data = file.read()
    end = data.rfind(b"\xff\xd9")
    return bool((_rgb_HWC(JpegImageFile(BytesIO(data[:end] + NOISE + data[end:]))) != rgb_HWC).any())


def _turn(holder: ImageFile | bytes) -> Turn:
    """What a picture's metadata, or some alone, say of the orientation; nothing where they are damaged."""
    try:
        if isinstance(holder, bytes):
            exif = Image.Exif()
            exif.load(holder)
        else:
            exif = holder.getexif()
        return TURNS.get(exif.get(ExifTags.Base.Orientation), UPRIGHT)
    except Exception:  # the parser raises whatever happens to it
        return UPRIGHT


def _rgb_HWC(image: ImageFile) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise DecodeError("holds numbers of 32 bits, and nothing tells which is white; save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):  # Pillow would clip it
        tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
        white = 2 ** tags.get(BITSPERSAMPLE, (16,))[0] - 1
        grey_HW = (np.asarray(image).astype(np.uint32) * 255 + white // 2) // white
        grey_HW = 255 - grey_HW if tags.get(PHOTOMETRIC_INTERPRETATION) == 0 else grey_HW
        return np.repeat(grey_HW[..., None], 3, axis=-1).astype(np.uint8)
    if image.has_transparency_data:
        return np.asarray(image.convert("RGBA").convert("RGBa"))[..., :3].copy()  # premultiplied: over black
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
