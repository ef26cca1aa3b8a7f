"""What the kernels compute, written out in PyTorch. All other implementations are held against it.

`reference_attention` needs memory for B * H * M * N scores, and computes in float32, or in float64 for float64
inputs, whatever the inputs' own precision. The others are what runs wherever a kernel or a backward pass written by
hand does not.
"""

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor

from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, R = H / G, M query rows, N key rows, D head dimension, C channels

SHORTEST = 1e-6
"""Vectors below this length are too close to zero to be scaled up."""


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


def reference_qk_rope(qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> Tensor:
    """As `videogpt_kernels.qk_rope`, for any number of heads H."""
    # The norm is written out: forward and backward take two thirds of the time of nn.RMSNorm on a CPU.
    exact = torch.promote_types(qk_BNHD.dtype, torch.float32)
    length_BNH1 = torch.linalg.vector_norm(qk_BNHD, dim=-1, keepdim=True, dtype=exact)
    scale_BNH1 = qk_BNHD.shape[-1] ** 0.5 / length_BNH1.clamp(min=SHORTEST) * gain_H[:, None]
    scaled_BNHD = qk_BNHD * scale_BNH1.to(qk_BNHD.dtype)
    first, second = scaled_BNHD.chunk(2, dim=-1)
    turned_BNHD = torch.addcmul(scaled_BNHD * cos_BN1D, torch.cat([second, first], dim=-1), sin_BN1D)
    return turned_BNHD.to(qk_BNHD.dtype)


def reference_rms_norm(x: Tensor) -> Tensor:
    """As `videogpt_kernels.rms_norm`."""
    exact = torch.promote_types(x.dtype, torch.float32)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
    return x * (x.shape[-1] ** 0.5 / length.clamp(min=SHORTEST)).to(x.dtype)


def reference_swiglu(x_C: Tensor) -> Tensor:
    """As `videogpt_kernels.swiglu`."""
    gate, value = x_C.chunk(2, dim=-1)
    return F.silu(gate) * value
