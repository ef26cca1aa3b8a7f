"""Attention through torch's `scaled_dot_product_attention`: runs everywhere, and stores no scores.

The mask is a tensor here, unless rows are plainly causal; it is built once per step and shared by all layers.
On a CPU it is the fastest way to decode one row at a time, and the way to train on sequences too long for
row_blocks.py.
"""

import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from videogpt_kernels.key_bias import KeyBias
from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, R = H / G, M query rows, N key rows, D head dimension


def sdpa_attention(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, visibility: Visibility, *, query_start: int, scale: float
) -> Tensor:
    """As `videogpt_kernels.attention`."""
    (batch, heads, rows, width), (_, key_heads, num_keys, _) = q_BHMD.shape, k_BGND.shape
    grouped = heads != key_heads
    if visibility.plain_causal and query_start == 0:
        k_BGND, v_BGND = k_BGND[:, :, :rows], v_BGND[:, :, :rows]
        return F.scaled_dot_product_attention(q_BHMD, k_BGND, v_BGND, is_causal=True, scale=scale, enable_gqa=grouped)
    key = (query_start, rows, num_keys, q_BHMD.dtype)
    bias = visibility.once("sdpa", key, lambda: KeyBias.build(visibility, *key))
    k_BGND, v_BGND = bias.reached(k_BGND), bias.reached(v_BGND)
    if rows == 1 and grouped:
        # The query heads that share a key head become the rows of one head: a product of matrices instead
        # of several with a vector. (reshape, not rearrange: once per layer and token, its 7 us would show.)
        q_BGRD = q_BHMD.reshape(batch, key_heads, heads // key_heads, width)
        out_BGRD = F.scaled_dot_product_attention(q_BGRD, k_BGND, v_BGND, attn_mask=bias.bias_B1MS, scale=scale)
        return out_BGRD.reshape(batch, heads, rows, width)
    if grouped and q_BHMD.device.type == "cuda":
        # The one fused CUDA kernel that takes a mask knows no grouped heads.
        shared = heads // key_heads
        k_BGND, v_BGND = (repeat(x, "b g n d -> b (g r) n d", r=shared) for x in (k_BGND, v_BGND))
        grouped = False
    return F.scaled_dot_product_attention(
        q_BHMD, k_BGND, v_BGND, attn_mask=bias.bias_B1MS, scale=scale, enable_gqa=grouped
    )
