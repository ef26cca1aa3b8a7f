"""How close a reconstruction is, and how much of a codebook is at work.

All pictures are float in [-1, 1]. PSNR and SSIM are computed per clip and averaged by the caller:
the mean of the clips' PSNR, not the PSNR of their mean error.
"""

import math
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

PIXELS_AT_ONCE = 2**20
"""SSIM needs some hundred bytes for each."""
PEAK_SQUARE, LEAST_SQUARE = 4, 4e-10
"""Of errors: the largest, from black to white; and the least that counts, for which PSNR is 100 dB."""


def psnr(video_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, (B,); identical clips give 100 dB."""
    error_B = (video_BCTHW.float() - target_BCTHW.float()).square().mean(dim=(1, 2, 3, 4))
    return 10 * torch.log10(PEAK_SQUARE / error_B.clamp(min=LEAST_SQUARE))


def psnr_of_error(square: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean square error; NaN of NaN."""
    return 10 * math.log10(PEAK_SQUARE / max(square, LEAST_SQUARE))


def ssim(video_BCTHW: Tensor, target_BCTHW: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004) of each clip, mean over frames, (B,); Gaussian window, sigma 1.5."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    # From 0 on: what SSIM says of brightness depends on where black is.
    frames, target = (
        rearrange(video.float() / 2 + 0.5, "b c t h w -> (b t) c h w") for video in (video_BCTHW, target_BCTHW)
    )
    at_once = max(1, PIXELS_AT_ONCE // math.prod(frames.shape[2:]))
    per_frame = [
        structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
        for pair in zip(frames.split(at_once), target.split(at_once), strict=True)
    ]
    # A single frame comes back without an axis.
    found = torch.cat([value.reshape(-1) for value in per_frame if isinstance(value, Tensor)])
    return rearrange(found, "(b t) -> b t", b=video_BCTHW.shape[0]).mean(dim=1)


class CodebookUse(NamedTuple):
    """How evenly a set of clips spreads over the vocabulary."""

    share: float
    """Codes that occur at least once, as a share of the codebook."""
    perplexity: float
    """2 to the entropy of the codes' frequencies: the number of equally likely codes that would be as diverse."""


def codebook_use(counts_V: Tensor) -> CodebookUse:
    """Use of a codebook from the number of times each code occurred, (V,)."""
    frequency_V = counts_V.double() / counts_V.sum().clamp(min=1)
    entropy = -(frequency_V * frequency_V.clamp(min=1e-12).log2()).sum()
    return CodebookUse(share=float((counts_V > 0).double().mean()), perplexity=float(2**entropy))
