"""How close a reconstruction is, and how much of a codebook is at work: the one place for these formulas.

    psnr(video_BCTHW, target_BCTHW).mean()                  # the mean of the clips' PSNR, not of their mean error
    decibels(0.01)                                          # what a mean squared error is in PSNR

All pictures are float in [-1, 1]: the peak is 2, its square 4.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# B batch, C colours, T frames, H/W height and width, V codes

PEAK_SQUARED = 4
LEAST_ERROR = 4e-10
"""A smaller mean squared error counts as this one: nothing is better than 100 dB."""
SSIM_PROTOCOL = "Gaussian windows of 11 x 11, sigma 1.5; borders are mirrored, which Wang et al., 2004 leave out"
"""What must be known to compare SSIM with other people's."""
SMALLEST_SSIM_SIDE = 11
"""Pixels: the side of a window."""
PIXELS_AT_ONCE = 2**15
"""What SSIM makes of them stays in a processor's cache."""
_REACH = SMALLEST_SSIM_SIDE // 2
_BELL = [math.exp(-((place / 1.5) ** 2) / 2) for place in range(-_REACH, _REACH + 1)]


def psnr(video_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, (B,); identical clips give 100 dB."""
    error_B = (video_BCTHW.float() - target_BCTHW.float()).square().mean(dim=(1, 2, 3, 4))
    return 10 * torch.log10(PEAK_SQUARED / error_B.clamp(min=LEAST_ERROR))


def decibels(square: float) -> float:
    """Peak signal-to-noise ratio of one mean squared error; NaN of NaN."""
    return 10 * math.log10(PEAK_SQUARED / max(LEAST_ERROR, square)) if not math.isnan(square) else math.nan


def ssim(video_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of each clip, (B,), the mean over its frames and colours.

    Windows are Gaussian, 11 x 11, sigma 1.5. Borders are mirrored, as by torchmetrics; the paper leaves them out. NaN
    where a side is shorter than a window.
    """
    if min(video_BCTHW.shape[3:]) < SMALLEST_SSIM_SIDE:
        return torch.full(video_BCTHW.shape[:1], math.nan, device=video_BCTHW.device)
    clips = (video_BCTHW, target_BCTHW)
    frames, target = (rearrange(clip_BCTHW, "b c t h w -> (b t) c h w") for clip_BCTHW in clips)
    at_once = max(1, PIXELS_AT_ONCE // math.prod(frames.shape[2:]))
    pairs = zip(frames.split(at_once), target.split(at_once), strict=True)
    found = torch.cat([_ssim_of_frames(*pair) for pair in pairs])
    return rearrange(found, "(b t) -> b t", b=video_BCTHW.shape[0]).mean(dim=1)


def _ssim_of_frames(video_NCHW: Tensor, target_NCHW: Tensor) -> Tensor:
    """Of each frame, (N,), in bands of rows.

    Sums and differences of both pictures tell all that the formula needs, and no square of a large mean is taken from
    another, which in float32 would cost the fifth decimal.
    """
    frames, _, height, width = video_NCHW.shape
    rows, total_N = max(1, PIXELS_AT_ONCE // (frames * width)), torch.zeros(frames, device=video_NCHW.device)
    for top in range(0, height, rows):
        seen = torch.arange(top - _REACH, min(top + rows, height) + _REACH, device=video_NCHW.device)
        mirrored = height - 1 - (height - 1 - seen.abs()).abs()
        pair = (picture[:, :, mirrored].float() for picture in (video_NCHW, target_NCHW))
        video, target = (F.pad(picture, (_REACH, _REACH, 0, 0), mode="reflect") for picture in pair)
        maps = torch.stack([video + target, video - target])
        mean_of_sum, mean_of_difference, *squares = _blurred(torch.cat([maps, maps.square()]))
        bright, apart = (mean_of_sum + 2).square(), mean_of_difference.square()  # from 0 on, where black is
        in_sum, in_difference = (squares[0] - mean_of_sum.square()).clamp(min=0), (squares[1] - apart).clamp(min=0)
        # Both terms of the formula times 8, of which the scale of [-1, 1] makes 4.
        light, contrast = 8 * 0.01**2, 8 * 0.03**2
        alike = (bright - apart + light) * (in_sum - in_difference + contrast)
        total_N = total_N + (alike / ((bright + apart + light) * (in_sum + in_difference + contrast))).sum(
            dim=(1, 2, 3)
        )
    return total_N / math.prod(video_NCHW.shape[1:])


def _blurred(maps: Tensor) -> Tensor:
    """The mean under the Gaussian window of every place that has a whole one, along height and width."""
    for axis in (-2, -1):
        places = maps.shape[axis] - 2 * _REACH
        blurred = torch.zeros_like(maps.narrow(axis, 0, places))
        for start, weight in enumerate(_BELL):
            blurred.add_(maps.narrow(axis, start, places), alpha=weight / sum(_BELL))
        maps = blurred
    return maps


class CodebookUse(NamedTuple):
    """How evenly a set of clips spreads over the vocabulary."""

    share: float  # of the codebook, of the codes that occur at least once
    perplexity: float  # 2 to the entropy of their frequencies: as many equally likely codes would be as diverse


def codebook_use(counts_V: Tensor) -> CodebookUse:
    """Use of a codebook from the number of times each code occurred, (V,)."""
    frequency_V = counts_V.double() / counts_V.sum().clamp(min=1)
    entropy = -(frequency_V * frequency_V.clamp(min=1e-12).log2()).sum()
    return CodebookUse(share=float((counts_V > 0).double().mean()), perplexity=float(2**entropy))
