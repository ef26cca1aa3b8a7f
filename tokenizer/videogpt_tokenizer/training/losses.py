"""Reconstruction loss of the video tokenizer: how pixels, coarse pixels, motion and looks differ.

`reconstruction_loss(video, target, weights, perceptual)` returns its terms by name and their weighted sum. Without a
perceptual term it needs no other network, and works by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""Frames (N, 3, H, W) in [-1, 1] and their targets -> a scalar."""


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
    perceptual: float = 0.0
    """LPIPS where its files are given, else a distance of local contrasts: see `perceptual`."""
    perceptual_frames: int = 4
    """Frames drawn from every clip for the perceptual term."""
    lpips_backbone: str | None = None
    """torchvision's ImageNet weights of VGG-16 or AlexNet: your own file, .pth or .safetensors."""
    lpips_heads: str | None = None
    """The linear heads of LPIPS 0.1 for that network."""

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "coarse", "temporal", "perceptual"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"loss {name} is {getattr(self, name)}; it must be 0 or more")
        if self.perceptual_frames < 1:
            raise ValueError(f"loss perceptual_frames is {self.perceptual_frames}; it must be 1 or more")
        if (self.lpips_backbone is None) != (self.lpips_heads is None):
            raise ValueError("lpips_backbone and lpips_heads belong together: give both files or neither")


class _Losses(NamedTuple):
    """Weighted sum and its unweighted terms."""

    total: Tensor
    terms: dict[str, Tensor]


def reconstruction_loss(
    video_BCTHW: Tensor, target_BCTHW: Tensor, weights: LossConfig, perceptual: Perceptual | None = None
) -> _Losses:
    """Compare two videos of (B, 3, T, H, W) in [-1, 1]; `perceptual` is needed where its weight is not zero."""
    video, target = video_BCTHW.float(), target_BCTHW.float()
    difference = video - target
    terms = {"l1": difference.abs().mean(), "l2": difference.square().mean()}
    if weights.coarse:
        terms["coarse"] = F.avg_pool2d(rearrange(difference, "b c t h w -> (b t) c h w"), 2).abs().mean()
    if weights.temporal and video.shape[2] > 1:
        terms["temporal"] = difference.diff(dim=2).abs().mean()
    if weights.perceptual:
        assert perceptual is not None
        drawn = draw_frames(video.shape[2], weights.perceptual_frames, video.device)
        pair = (rearrange(x[:, :, drawn], "b c t h w -> (b t) c h w") for x in (video, target))
        terms["perceptual"] = perceptual(*pair)
    total = sum(getattr(weights, name) * term for name, term in terms.items())
    assert isinstance(total, Tensor)
    return _Losses(total, terms)


def draw_frames(available: int, count: int, device: torch.device) -> Tensor:
    """Indices of `count` different frames, or of all where there are fewer, in order."""
    return torch.randperm(available)[:count].sort().values.to(device)
