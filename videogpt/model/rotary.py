"""Rotary positions in three axes: tokens attend by how far apart they are in time, height and width.

    rotation = rotation_at(positions_BN3, head_dim=64, base=100.0)         # once per forward
    qk_BNHD = qk_rope(qk_BNHD, gain_H, *rotation)                          # in every layer

Channels i and i + D/2 of a head are pair i, which turns along axis i mod 3 of (t, h, w): every axis has a
third of the pairs, and among them all speeds from 1 radian per step down to about 1 / base. On the diagonal
t = h = w, where text lies, this is rotary embedding in one axis (Su et al., "RoFormer", arXiv 2104.09864).
"""

import torch
from einops import rearrange
from torch import Tensor

# B sequences (or 1 for all), N rows, D channels of a head, P = D/2 pairs, 3 the axes (t, h, w)


Rotation = tuple[Tensor, Tensor]
"""Cosine and sine (B, N, 1, D) of each channel's turn at each row; the sine negative for the first of a pair."""


def rotation_at(positions_BN3: Tensor, *, head_dim: int, base: float, dtype: torch.dtype = torch.float32) -> Rotation:
    """Turns of rows at these places; reckoned in float32, kept in `dtype`, that of queries and keys."""
    axes, pairs = positions_BN3.shape[-1], head_dim // 2
    pair_P = torch.arange(pairs, device=positions_BN3.device)
    speed_P = base ** (-(pair_P // axes).float() * (axes / pairs))
    angle_BNP = positions_BN3[..., pair_P % axes] * speed_P
    cos_BNP, sin_BNP = angle_BNP.cos(), angle_BNP.sin()
    cos_BN1D = rearrange([cos_BNP, cos_BNP], "half b n p -> b n 1 (half p)")
    sin_BN1D = rearrange([-sin_BNP, sin_BNP], "half b n p -> b n 1 (half p)")
    return cos_BN1D.to(dtype), sin_BN1D.to(dtype)
