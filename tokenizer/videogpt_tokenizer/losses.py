"""Reconstruction loss of the video tokenizer: how pixels, coarse pixels and motion differ.

`reconstruction_loss(video, target, weights)` returns its terms by name and their weighted sum. It needs no pretrained
network: the coarse and the temporal term stand in for a perceptual one.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms; zero leaves a term out."""

    l1: float = 1.0
    """Mean absolute error of the pixels."""
    l2: float = 2.0
    """Mean squared error of the pixels, what PSNR measures."""
    coarse: float = 0.5
    """Mean absolute error of the pixels averaged over 2x2."""
    temporal: float = 0.5
    """Mean absolute error of the change from frame to frame."""


class Losses(NamedTuple):
    """Weighted sum and its unweighted terms."""

    total: Tensor
    terms: dict[str, Tensor]


def reconstruction_loss(video_BCTHW: Tensor, target_BCTHW: Tensor, weights: LossConfig) -> Losses:
    """Compare two videos of (B, 3, T, H, W) in [-1, 1]."""
    video, target = video_BCTHW.float(), target_BCTHW.float()
    difference = video - target
    terms = {"l1": difference.abs().mean(), "l2": difference.square().mean()}
    if weights.coarse:
        terms["coarse"] = F.avg_pool2d(rearrange(difference, "b c t h w -> (b t) c h w"), 2).abs().mean()
    if weights.temporal and video.shape[2] > 1:
        terms["temporal"] = difference.diff(dim=2).abs().mean()
    total = sum(getattr(weights, name) * term for name, term in terms.items())
    assert isinstance(total, Tensor)
    return Losses(total, terms)
