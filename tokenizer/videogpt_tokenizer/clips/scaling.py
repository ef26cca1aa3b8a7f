"""Stored frames -> RGB pictures of a size, through FFmpeg's scaler with exact rounding.

    to_rgb = ToRgb(size=64)
    picture_HWC = to_rgb(stored)                # uint8; one object for all frames of a file

Makes pixels square, scales a picture until it covers the size and cuts out the centre; lays alpha over black; turns and
mirrors as the file says. Refuses pictures that change their size where none is wanted, and ribbons that would grow too
large.
"""

from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

# H height, W width, C colours

MAX_PIXELS = 2**26
"""The most pixels of a picture that is decoded, 8192 x 8192."""
_BLENDED_AT_ONCE = 2**20
MOST_PIXELS = f"{MAX_PIXELS // 10**6} million pixels"

# Flags of libswscale that older PyAV has no names for. Without them colours are wrong by two levels of 255 on average.
ACCURATE_ROUNDING, FULL_CHROMA_OUT, FULL_CHROMA_IN = 0x40000, 0x2000, 0x4000
KEEP = Interpolation.BILINEAR | ACCURATE_ROUNDING | FULL_CHROMA_OUT
SHRINK = Interpolation.AREA | ACCURATE_ROUNDING | FULL_CHROMA_OUT
ENLARGE = Interpolation.BICUBIC | ACCURATE_ROUNDING | FULL_CHROMA_OUT
FROM_RGB = Interpolation.BICUBIC | ACCURATE_ROUNDING | FULL_CHROMA_IN


class DecodeError(ValueError):
    """What is wrong with a file; the reader puts its name in front."""


class Turn(NamedTuple):
    """How a stored picture is to be shown: its rows as columns first, then mirrored."""

    rows_as_columns: bool
    left_right: bool
    upside_down: bool


UPRIGHT = Turn(False, False, False)


class Stored(NamedTuple):
    """One stored frame, the time in seconds that it is on display, and how it is to be shown."""

    frame: av.VideoFrame
    begin: float
    end: float
    turn: Turn = UPRIGHT
    pixel_aspect: float = 1.0  # width of a pixel / its height


def check_pixels(width: int, height: int) -> None:
    if height * width > MAX_PIXELS:
        raise DecodeError(f"claims pictures of {width} x {height}, more than {MOST_PIXELS}; make it smaller")


class ToRgb:
    """Turns the frames of one file into pictures; keeps the scaler's tables from frame to frame."""

    def __init__(self, size: int | tuple[int, int] | None) -> None:
        self.target_HW = (size, size) if isinstance(size, int) else size
        self.scaler = VideoReformatter()
        self.count = 0
        self.shape_HW: tuple[int, ...] = ()

    def __call__(self, stored: Stored) -> np.ndarray:
        frame, turn = stored.frame, stored.turn
        if frame.format.has_palette or any(component.is_alpha for component in frame.format.components):
            rgba_HWC = frame.reformat(format="rgba", interpolation=KEEP).to_ndarray()
            frame = av.VideoFrame.from_ndarray(over_black(rgba_HWC), "rgb24")
        target_HW = self.target_HW
        if target_HW and turn.rows_as_columns:
            target_HW = target_HW[1], target_HW[0]
        picture_HWC = self._resized(frame, _square_pixels(frame, stored.pixel_aspect), target_HW)
        if turn.rows_as_columns:
            picture_HWC = picture_HWC.swapaxes(0, 1)
        picture_HWC = picture_HWC[:: -1 if turn.upside_down else 1, :: -1 if turn.left_right else 1]
        if self.count and picture_HWC.shape[:2] != self.shape_HW:
            raise DecodeError(f"the picture changes size at frame {self.count}; give a size")
        self.count, self.shape_HW = self.count + 1, picture_HWC.shape[:2]
        return np.ascontiguousarray(picture_HWC)

    def _resized(
        self, frame: av.VideoFrame, shown_HW: tuple[int, int], target_HW: tuple[int, int] | None
    ) -> np.ndarray:
        """Scale until the picture, which is shown as large as `shown_HW`, covers the target; cut out its centre."""
        (shown_height, shown_width), (height, width) = shown_HW, target_HW or shown_HW
        scale = max(height / shown_height, width / shown_width)
        full_height = max(height, round(shown_height * scale))
        full_width = max(width, round(shown_width * scale))
        if full_height * full_width > max(MAX_PIXELS, height * width if target_HW else 0):
            raise DecodeError(
                f"is {shown_width} x {shown_height}, too long and narrow to cover {width} x {height}; cut it first"
                if target_HW
                else f"is shown as {width} x {height}, more than {MOST_PIXELS}; give a size"
            )
        is_kept = (full_height, full_width) == (frame.height, frame.width)
        how = KEEP if is_kept else SHRINK if full_height <= frame.height and full_width <= frame.width else ENLARGE
        picture_HWC = self.scaler.reformat(frame, full_width, full_height, "rgb24", interpolation=how).to_ndarray()
        top, left = (full_height - height) // 2, (full_width - width) // 2
        return picture_HWC[top : top + height, left : left + width]


def _square_pixels(frame: av.VideoFrame, pixel_aspect: float) -> tuple[int, int]:
    """Height and width with square pixels, one of them larger than stored; a single row or column is not worth it."""
    height, width = frame.height, frame.width
    shown_height, shown_width = round(height / min(1, pixel_aspect)), round(width * max(1, pixel_aspect))
    return (height, width) if shown_height + shown_width <= height + width + 1 else (shown_height, shown_width)


def over_black(rgba_HWC: np.ndarray) -> np.ndarray:
    height, width = rgba_HWC.shape[:2]
    rgb_HWC = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BLENDED_AT_ONCE // width)
    for top in range(0, height, rows):  # of 16 bits a large picture would take gigabytes
        levels_HWC = rgba_HWC[top : top + rows].astype(np.uint16)
        rgb_HWC[top : top + rows] = (levels_HWC[..., :3] * levels_HWC[..., 3:] + 127) // 255
    return rgb_HWC
