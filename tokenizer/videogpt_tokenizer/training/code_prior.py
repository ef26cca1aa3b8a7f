"""A small autoregressive prior over codes, trained with the tokenizer, so that codes become easier to predict.

    prior = CodePrior(PriorConfig(weight=0.01), levels=(8, 5, 5, 5))
    bits = prior(quantized_latents)          # bits per code, differentiable

As in learned compression (Minnen et al. 2018, arXiv 1809.02736), and for language models in LARP (Wang et al. 2024,
arXiv 2410.21264): the rate of the codes under a causal model is part of the loss, and its gradient reaches the encoder
through what is predicted and through what it is predicted from. For finite scalar quantization alone: its levels are
ordered, so a distribution over them can be smooth. The prior is no part of the tokenizer that is saved.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

# B batch, T latent frames, H/W latent grid, K channels of a code, D width


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """The prior, and how much it shapes the codes."""

    weight: float = 0.0
    """Weight of bits per code in the tokenizer's loss. At 0 the prior only measures them: codes do not follow it."""
    width: int = 64
    """Channels of its layers."""
    depth: int = 3
    """Layers after the first."""
    learning_rate: float = 2e-3
    """Peak learning rate of the prior; the schedule is the tokenizer's."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"prior weight is {self.weight}; it must be 0 or more, for example 0.01")
        if self.width < 8 or self.depth < 0:
            raise ValueError(f"prior width {self.width} must be 8 or more, depth {self.depth} 0 or more")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"prior learning_rate is {self.learning_rate}; it must be above 0, for example 0.002")


class _MaskedConv(nn.Conv2d):
    """3x3 convolution over places that come earlier in raster order; `own` lets it see its own place."""

    mask_33: Tensor

    def __init__(self, channels: int, out_channels: int, *, own: bool) -> None:
        super().__init__(channels, out_channels, kernel_size=3, padding=1)
        earlier = torch.tensor([[1.0, 1.0, 1.0], [1.0, float(own), 0.0], [0.0, 0.0, 0.0]])
        self.register_buffer("mask_33", earlier, persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name that nn.Conv2d gives it
        return F.conv2d(input, self.weight * self.mask_33, self.bias, padding=1)


class CodePrior(nn.Module):
    """Bits of each code given the codes before it: all of the latent frame before, then raster order, then channels."""

    half_K: Tensor
    top_K: Tensor

    def __init__(self, config: PriorConfig, levels: Sequence[int]) -> None:
        super().__init__()
        self.config = config
        channels = len(levels)
        self.before = nn.Conv2d(channels, config.width, kernel_size=3, padding=1)
        self.within = _MaskedConv(channels, config.width, own=False)
        self.blocks = nn.ModuleList([_MaskedConv(config.width, config.width, own=True) for _ in range(config.depth)])
        self.head = nn.Conv2d(config.width, 2 * channels, kernel_size=1)
        self.earlier_channels_KK = nn.Parameter(torch.zeros(channels, channels))
        self.register_buffer("half_K", torch.tensor([level // 2 for level in levels]).float(), persistent=False)
        self.register_buffer("top_K", torch.tensor([(level - 1) // 2 for level in levels]).float(), persistent=False)

    def forward(self, latents_BTHWK: Tensor) -> Tensor:
        """Quantized latents (B, T, H, W, K) in [-1, 1] -> mean bits per code.

        The prior's own weights get the whole gradient, the latents `weight` times as much.
        """
        latents, weight = latents_BTHWK.float(), self.config.weight
        latents = latents * weight + (latents * (1 - weight)).detach()
        frames, height = latents.shape[1:3]
        frames_NKHW = rearrange(latents, "b t h w k -> (b t) k h w")
        before_BTHWK = torch.cat([torch.zeros_like(latents[:, :1]), latents[:, :-1]], dim=1)
        hidden = self.before(rearrange(before_BTHWK, "b t h w k -> (b t) k h w")) + self.within(frames_NKHW)
        for block in self.blocks:
            hidden = hidden + block(F.silu(hidden))
        mean, log_scale = self.head(F.silu(hidden)).chunk(2, dim=1)
        mean, log_scale = (rearrange(x, "(b t) k h w -> b t h w k", t=frames, h=height) for x in (mean, log_scale))
        mean = mean + latents @ self.earlier_channels_KK.tril(-1).T
        return self._bits(latents * self.half_K, mean * self.half_K, log_scale.clamp(-6, 4)).sum(dim=-1).mean()

    def _bits(self, steps: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
        """Bits of every step under a logistic distribution cut into steps, the outermost open to their side."""
        above, below = ((steps + half - mean) / log_scale.exp() for half in (0.5, -0.5))
        rounded = steps.detach().round()
        is_top, is_bottom = rounded >= self.top_K, rounded <= -self.half_K
        # sigmoid(above) - sigmoid(below) as a product: its logarithm has a slope however unlikely the step is.
        nats = torch.where(is_top, 0, F.logsigmoid(above)) + torch.where(is_bottom, 0, F.logsigmoid(-below))
        nats = nats + torch.where(is_top | is_bottom, 0, torch.log(-torch.expm1(below - above)))
        return -nats / math.log(2)
