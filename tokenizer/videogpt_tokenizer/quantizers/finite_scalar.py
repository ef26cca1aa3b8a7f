"""Finite scalar quantization: every channel rounded to a few levels.

    quantizer = FiniteScalarQuantizer((8, 5, 5, 5))

Written out here, because it is a dozen lines, every shipped tokenizer needs it and loading one should need no more than
torch; tests hold it to vector-quantize-pytorch bit for bit.
"""

import math

import torch
from torch import Tensor

from videogpt_tokenizer.quantizers.base import Quantizer

# B clips, N vectors in each, K channels

_MARGIN = 1e-3
"""How far beyond its outermost levels a channel is bounded, as a share of its half range."""


class FiniteScalarQuantizer(Quantizer):
    """Round each bounded channel to a few levels: no codebook to learn, none to collapse.

    Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023 (arXiv 2309.15505), appendix A.1.
    """

    levels_K: Tensor
    strides_K: Tensor

    def __init__(self, levels: tuple[int, ...], commitment: float = 0.0) -> None:
        super().__init__()
        self.stage_sizes, self.dim = (math.prod(levels),), len(levels)
        self.commitment = commitment
        self.register_buffer("levels_K", torch.tensor(levels), persistent=False)
        self.register_buffer("strides_K", strides_of(levels), persistent=False)

    def quantize_rows(self, rows_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Of whole numbers torch makes floats of its default type, which the user may have set.
        half_range_K = (self.levels_K - 1).float() * (1 + _MARGIN) / 2
        offset_K = torch.where(self.levels_K % 2 == 0, 0.5, 0.0).float()
        bounded_BNK = torch.tanh(rows_BND + torch.atanh(offset_K / half_range_K)) * half_range_K - offset_K
        rounded_BNK = bounded_BNK.round().detach()
        steps_BNK = bounded_BNK + (rounded_BNK - bounded_BNK).detach()
        half_width_K = self.levels_K // 2
        codes_BN = ((steps_BNK.round().long() + half_width_K) * self.strides_K).sum(dim=-1)
        loss = self.commitment * (bounded_BNK - rounded_BNK).square().mean()
        return steps_BNK / half_width_K, codes_BN, loss

    def lookup_rows(self, codes_N: Tensor) -> Tensor:
        steps_NK = codes_N[:, None] // self.strides_K % self.levels_K - self.levels_K // 2
        return steps_NK.float() / (self.levels_K // 2)


def strides_of(levels: tuple[int, ...]) -> Tensor:
    """How much a step of each channel adds to the code, (K,): the first channel is its lowest digit."""
    return torch.tensor([math.prod(levels[:index]) for index in range(len(levels))])
