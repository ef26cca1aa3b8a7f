"""Attention in blocks of query rows, each against only the keys it can reach: the fast way to train on a CPU.

torch's fused CPU kernel, given a mask, multiplies hidden keys too, and its bfloat16 was measured no faster
than its float32 where plain batched products were four times faster. Those, over blocks of rows, win on both
counts and leave the backward pass to autograd; the README of kernels/ has the figures. The price is memory,
the weights of all reached keys until the backward pass: `why_not_row_blocks` advises against it where they
are large. In bfloat16 the scores are rounded before the softmax, as in any eager attention.
"""

import torch
from einops import rearrange
from torch import Tensor

from videogpt_kernels.key_bias import KeyBias
from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, R = H / G query heads per key head, X = B * G, D head dimension,
# M query rows, Y = R * M, N key rows, S reached key rows

BLOCK_ROWS = 128
MAX_KEPT_BYTES = 256 * 2**20


def why_not_row_blocks(q_BHMD: Tensor, k_BGND: Tensor) -> str | None:
    """Why row blocks are not the best choice for these inputs, or None when they are."""
    batch, heads, rows, _ = q_BHMD.shape
    if q_BHMD.device.type != "cpu":
        return f"the device is {q_BHMD.device.type}"
    if rows == 1:
        return "there is one query row"
    kept_bytes = batch * heads * rows * k_BGND.shape[2] * q_BHMD.element_size()
    if torch.is_grad_enabled() and kept_bytes > MAX_KEPT_BYTES:
        return f"the weights kept for the backward pass would exceed {MAX_KEPT_BYTES >> 20} MiB"
    return None


def row_blocks_attention(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, visibility: Visibility, *, query_start: int, scale: float
) -> Tensor:
    """As `videogpt_kernels.attention`."""
    rows, keys, dtype = q_BHMD.shape[2], k_BGND.shape[2], q_BHMD.dtype

    def build() -> list[KeyBias]:
        counts = {start: min(BLOCK_ROWS, rows - start) for start in range(0, rows, BLOCK_ROWS)}
        return [KeyBias.build(visibility, query_start + start, n, keys, dtype) for start, n in counts.items()]

    biases = visibility.once("row blocks", (query_start, rows, keys, dtype), build)
    blocks = zip(q_BHMD.split(BLOCK_ROWS, dim=2), biases, strict=True)
    return torch.cat([_attend(q, k_BGND, v_BGND, bias, scale) for q, bias in blocks], dim=2)


def _attend(q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, bias: KeyBias, scale: float) -> Tensor:
    """Attention of one block. Query heads that share a key head are more rows of it: no key is repeated."""
    batch, key_heads = k_BGND.shape[:2]
    k_XSD = rearrange(bias.reached(k_BGND), "b g s d -> (b g) s d")
    v_XSD = rearrange(bias.reached(v_BGND), "b g s d -> (b g) s d")
    q_XYD = rearrange(q_BHMD, "b (g r) m d -> (b g) (r m) d", g=key_heads)
    # The scale goes into the product, where it is applied before rounding; beta=0 adds nothing to it.
    scores_XYS = torch.baddbmm(q_XYD.new_empty(1, 1, 1), q_XYD, k_XSD.mT, beta=0, alpha=scale)
    scores_BHMS = rearrange(scores_XYS, "(b g) (r m) s -> b (g r) m s", b=batch, m=q_BHMD.shape[2])
    weights_BHMS = scores_BHMS.add_(bias.bias_B1MS).softmax(dim=-1)
    weights_XYS = rearrange(weights_BHMS, "b (g r) m s -> (b g) (r m) s", g=key_heads)
    out_XYD = torch.bmm(weights_XYS, v_XSD)
    return rearrange(out_XYD, "(b g) (r m) d -> b (g r) m d", b=batch, m=q_BHMD.shape[2])
