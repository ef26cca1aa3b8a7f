"""How close a reconstruction is in 8 bits, frame by frame, so that a seam shows where it is.

    meter = FrameMeter()
    for original_THWC, result_THWC in pieces: meter.add(original_THWC, result_THWC)
    meter.figures().psnr

Takes a clip a few frames at a time, of which it keeps numbers and one frame of differences. A frame's place is 0 for
the first, which has a latent frame alone, and 1 to time_stride for the others within theirs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.metrics import decibels, ssim

# B batch (of one), C colours, T frames, H/W height and width

LEVELS = 127.5
"""Levels of 8 bits for a step of 1 in [-1, 1]."""


@dataclass(frozen=True, kw_only=True)
class EightBitFigures:
    """Figures of one clip of 8-bit frames, or the mean of several; those of floats are in `scores`."""

    psnr: float
    """Peak signal-to-noise ratio in dB; 100 where nothing is lost."""
    ssim: float
    """Structural similarity (see `metrics.ssim`), 1 where nothing is lost; NaN below 11 pixels a side."""
    temporal_psnr: float
    """PSNR of the changes from frame to frame: what flickers or stands still costs here. NaN of a single frame."""
    flicker: float
    """Mean size of what changes from frame to frame and should not, or fails to and should, in levels of 255."""
    psnr_T: tuple[float, ...]
    change_psnr_T: tuple[float, ...]
    """PSNR of the change into each frame; NaN for the first."""


class FrameMeter:
    """Measures one clip as it comes."""

    def __init__(self) -> None:
        self._squares: list[float] = []
        self._similarities: list[float] = []
        self._change_squares: list[float] = []
        """Of every frame but the first."""
        self._change_sizes: list[float] = []
        self._last_CHW: Tensor | None = None
        """The error of the last frame."""

    def __len__(self) -> int:
        return len(self._squares)

    def add(self, original_THWC: Tensor, result_THWC: Tensor) -> None:
        """Take the next frames of the clip, uint8."""
        for pair in zip(original_THWC.split(1), result_THWC.split(1), strict=True):  # to take less memory
            self._add_frame(*(Clip(frame_1HWC, 1.0).video_CTHW() for frame_1HWC in pair))

    def _add_frame(self, original_C1HW: Tensor, result_C1HW: Tensor) -> None:
        self._similarities.append(float(ssim(result_C1HW[None], original_C1HW[None])))
        error_CHW = result_C1HW.sub_(original_C1HW)[:, 0]
        self._squares.append(float(error_CHW.square().mean()))
        if self._last_CHW is not None:
            change_CHW = error_CHW - self._last_CHW  # the error of the change is that of the errors
            self._change_squares.append(float(change_CHW.square().mean()))
            self._change_sizes.append(float(change_CHW.abs_().mean()))
        self._last_CHW = error_CHW

    def figures(self) -> EightBitFigures:
        """Of all frames so far, one or more."""
        return EightBitFigures(
            psnr=decibels(mean(self._squares)),
            ssim=mean(self._similarities),
            temporal_psnr=decibels(mean(self._change_squares)),
            flicker=LEVELS * mean(self._change_sizes),
            psnr_T=tuple(map(decibels, self._squares)),
            change_psnr_T=(math.nan, *map(decibels, self._change_squares)),
        )


def mean_figures(clips: Sequence[EightBitFigures]) -> EightBitFigures:
    """The mean of every figure over the clips that have it, each counting once; of a frame, by its index."""
    return EightBitFigures(
        psnr=mean([clip.psnr for clip in clips]),
        ssim=mean([clip.ssim for clip in clips]),
        temporal_psnr=mean([clip.temporal_psnr for clip in clips]),
        flicker=mean([clip.flicker for clip in clips]),
        psnr_T=_mean_by_index([clip.psnr_T for clip in clips]),
        change_psnr_T=_mean_by_index([clip.change_psnr_T for clip in clips]),
    )


def mean_by_place(clips: Sequence[tuple[float, ...]], time_stride: int) -> list[float]:
    """The mean over the clips of each one's mean over its frames at place 0, 1, ..., time_stride; NaN of none.

    Of changes into frames, a seam between latent frames makes that into place 1 lower than the others.
    """
    places = [slice(0, 1), *(slice(place, None, time_stride) for place in range(1, time_stride + 1))]
    return [mean([mean(values_T[place]) for values_T in clips]) for place in places]


def mean(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def _mean_by_index(clips: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    longest = max(map(len, clips))
    return tuple(mean([values[index] for values in clips if index < len(values)]) for index in range(longest))
