"""Stored frames -> RGB pictures of a size, through FFmpeg's scaler with exact rounding.

    to_rgb = ToRgb(Path("dog.mp4"), size=64)
    picture_HWC = to_rgb(frame)                 # uint8; one object for all frames of a file

Scales a picture until it covers the size and cuts out the centre; lays alpha over black; obeys a phone's rotation flag.
Refuses, with a ValueError, pictures that change their size where none is wanted, and ribbons that would grow too large.
"""

from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from einops import rearrange

# H height, W width, C colours

MAX_PIXELS = 2**26
"""The most pixels of a picture that is decoded, 8192 x 8192."""
MOST_PIXELS = f"{MAX_PIXELS // 10**6} million pixels"

# Flags of libswscale that older PyAV has no names for. Without them colours are wrong by two levels of 255 on average.
ACCURATE_ROUNDING, FULL_CHROMA_OUT, FULL_CHROMA_IN = 0x40000, 0x2000, 0x4000
KEEP = Interpolation.BILINEAR | ACCURATE_ROUNDING | FULL_CHROMA_OUT
SHRINK = Interpolation.AREA | ACCURATE_ROUNDING | FULL_CHROMA_OUT
ENLARGE = Interpolation.BICUBIC | ACCURATE_ROUNDING | FULL_CHROMA_OUT
FROM_RGB = Interpolation.BICUBIC | ACCURATE_ROUNDING | FULL_CHROMA_IN


class ToRgb:
    """Turns the frames of one file into pictures; keeps the scaler's tables from frame to frame."""

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
        height, width = self.target_HW or (frame.height, frame.width)
        if self.target_HW and quarter_turns % 2:
            height, width = width, height
        picture_HWC = np.ascontiguousarray(np.rot90(self._resized(frame, height, width), quarter_turns))
        if self.count and picture_HWC.shape[:2] != self.shape_HW:
            raise ValueError(f"{self.path}: the picture changes size at frame {self.count}; give a size")
        self.count, self.shape_HW = self.count + 1, picture_HWC.shape[:2]
        return picture_HWC

    def _resized(self, frame: av.VideoFrame, height: int, width: int) -> np.ndarray:
        """Scale until the picture covers that size, then cut out its centre."""
        scale = max(height / frame.height, width / frame.width)
        full_height = max(height, round(frame.height * scale))
        full_width = max(width, round(frame.width * scale))
        if full_height * full_width > max(MAX_PIXELS, height * width):
            raise ValueError(
                f"{self.path}: is {frame.width} x {frame.height}, too long and narrow to cover {width} x {height}; "
                "cut it first"
            )
        how = KEEP if scale == 1 else SHRINK if scale < 1 else ENLARGE
        picture_HWC = self.scaler.reformat(frame, full_width, full_height, "rgb24", interpolation=how).to_ndarray()
        top, left = (full_height - height) // 2, (full_width - width) // 2
        return picture_HWC[top : top + height, left : left + width]


def _over_black(frame: av.VideoFrame) -> av.VideoFrame:
    rgba_HWC = frame.reformat(format="rgba", interpolation=KEEP).to_ndarray().astype(np.uint16)
    colour_HWC, alpha_HW = rgba_HWC[..., :3], rgba_HWC[..., 3]
    rgb_HWC = (colour_HWC * rearrange(alpha_HW, "h w -> h w 1") + 127) // 255
    return av.VideoFrame.from_ndarray(rgb_HWC.astype(np.uint8), "rgb24")
