"""Attention written out: dense mask, softmax, nothing clever. All other implementations are held against it.

Takes all that `videogpt_kernels.attention` takes, needs memory for B * H * M * N scores, and computes in
float32, or in float64 for float64 inputs, whatever the inputs' own precision.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor

from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, R = H / G, M query rows, N key rows, D head dimension


def reference_attention(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, visibility: Visibility, *, query_start: int, scale: float
) -> Tensor:
    """softmax(scale * q k^T over the visible keys) v, shape (B, H, M, D), in the inputs' dtype."""
    exact = torch.promote_types(q_BHMD.dtype, torch.float32)
    q_BGRMD = rearrange(q_BHMD.to(exact), "b (g r) m d -> b g r m d", g=k_BGND.shape[1])
    scores_BGRMN = scale * einsum(q_BGRMD, k_BGND.to(exact), "b g r m d, b g n d -> b g r m n")
    visible_BMN = visibility.dense(query_start, q_BHMD.shape[2], k_BGND.shape[2])
    hidden_B11MN = rearrange(~visible_BMN, "b m n -> b 1 1 m n")
    weights_BGRMN = scores_BGRMN.masked_fill(hidden_B11MN, float("-inf")).softmax(dim=-1)
    out_BGRMD = einsum(weights_BGRMN, v_BGND.to(exact), "b g r m n, b g n d -> b g r m d")
    return rearrange(out_BGRMD, "b g r m d -> b (g r) m d").to(q_BHMD.dtype)
