"""Rotary positions in three axes (t, h, w): attention between two tokens depends on how far apart they are in each.

    rotation = Rotation.at(positions_BN3, head_dim=64, base=100.0)         # once per forward
    q_BNHD = rotation(q_BNHD)                                              # in every layer

Channels i and i + D/2 of a head form pair i, which turns with axis i mod 3: each axis gets every third pair, and with it
frequencies from 1 down to about 1 / base. Text lies on the diagonal t = h = w, which is ordinary one-axis rotary.

Su et al., "RoFormer", 2021 (arXiv 2104.09864).
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

# B sequences (or 1), N rows, H heads, D channels of a head, P = D/2 pairs, 3 the axes (t, h, w)

AXES = 3


class Rotation(NamedTuple):
    """The turn of every channel pair at every row."""

    cos_BN1D: Tensor
    sin_BN1D: Tensor
    """Negative for the first channel of a pair."""

    @classmethod
    def at(cls, positions_BN3: Tensor, *, head_dim: int, base: float, dtype: torch.dtype = torch.float32) -> "Rotation":
        """Turns for positions (t, h, w); computed in float32, given in `dtype`."""
        pair_P = torch.arange(head_dim // 2, device=positions_BN3.device)
        steps = -(-len(pair_P) // AXES)
        frequency_P = base ** -((pair_P // AXES) / steps)
        angle_BNP = positions_BN3[..., pair_P % AXES] * frequency_P
        cos_BNP, sin_BNP = angle_BNP.cos(), angle_BNP.sin()
        return cls(
            rearrange([cos_BNP, cos_BNP], "half b n p -> b n 1 (half p)").to(dtype),
            rearrange([-sin_BNP, sin_BNP], "half b n p -> b n 1 (half p)").to(dtype),
        )

    def __call__(self, x_BNHD: Tensor) -> Tensor:
        """Turn queries or keys."""
        first, second = x_BNHD.chunk(2, dim=-1)
        return torch.addcmul(x_BNHD * self.cos_BN1D, torch.cat([second, first], dim=-1), self.sin_BN1D)
