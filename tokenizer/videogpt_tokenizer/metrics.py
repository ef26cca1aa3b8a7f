"""How close a reconstruction is, and how much of a codebook is at work: the one place for these formulas.

    psnr(video_BCTHW, target_BCTHW).mean()                  # the mean of the clips' PSNR, not of their mean error
    decibels(0.01)                                          # what a mean squared error is in PSNR

All pictures are float in [-1, 1]: the peak is 2, its square 4.
"""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

# B batch, C colours, T frames, H/W height and width, V codes

PEAK_SQUARED = 4
LEAST_ERROR = 4e-10
"""A smaller mean squared error counts as this one: nothing is better than 100 dB."""
SMALLEST_SSIM_SIDE = 11
"""Pixels: SSIM looks at windows of 11 x 11."""
PIXELS_AT_ONCE = 2**20
"""SSIM needs some hundred bytes for each."""


def psnr(video_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, (B,); identical clips give 100 dB."""
    error_B = (video_BCTHW.float() - target_BCTHW.float()).square().mean(dim=(1, 2, 3, 4))
    return 10 * torch.log10(PEAK_SQUARED / error_B.clamp(min=LEAST_ERROR))


def decibels(square: float) -> float:
    """Peak signal-to-noise ratio of one mean squared error; NaN of NaN."""
    return 10 * math.log10(PEAK_SQUARED / max(LEAST_ERROR, square)) if not math.isnan(square) else math.nan


def ssim(video_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of each clip, (B,), the mean over its frames; Gaussian, sigma 1.5."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    # From 0 on: what SSIM says of brightness depends on where black is.
    frames, target = (
        rearrange(video.float() / 2 + 0.5, "b c t h w -> (b t) c h w") for video in (video_BCTHW, target_BCTHW)
    )
    at_once = max(1, PIXELS_AT_ONCE // math.prod(frames.shape[2:]))
    parts = [
        structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
        for pair in zip(frames.split(at_once), target.split(at_once), strict=True)
    ]
    # A single frame comes back without an axis.
    found = torch.cat([part.reshape(-1) for part in parts if isinstance(part, Tensor)])
    return rearrange(found, "(b t) -> b t", b=video_BCTHW.shape[0]).mean(dim=1)


class CodebookUse(NamedTuple):
    """How evenly a set of clips spreads over the vocabulary."""

    share: float  # of the codebook, of the codes that occur at least once
    perplexity: float  # 2 to the entropy of their frequencies: as many equally likely codes would be as diverse


def codebook_use(counts_V: Tensor) -> CodebookUse:
    """Use of a codebook from the number of times each code occurred, (V,)."""
    frequency_V = counts_V.double() / counts_V.sum().clamp(min=1)
    entropy = -(frequency_V * frequency_V.clamp(min=1e-12).log2()).sum()
    return CodebookUse(share=float((counts_V > 0).double().mean()), perplexity=float(2**entropy))
