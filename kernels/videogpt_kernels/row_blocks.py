"""Attention in blocks of query rows, each against only the keys it can reach: the fast way to train on a CPU.

torch's fused CPU kernel, given a mask, multiplies hidden keys too, and its bfloat16 was measured no faster
than its float32 where plain batched products were four times faster. Those, over blocks of rows, win on both
counts; the README of kernels/ has the figures. The backward pass is written by hand: autograd's would copy every
gradient from block to block. The price is memory, the weights of all reached keys until the backward pass:
`why_not_row_blocks` advises against it where they are large. In bfloat16 the scores are rounded before the softmax,
as in any eager attention. No gradient of the gradient.
"""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from videogpt_kernels.dispatch import by_hand, wants_backward
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
        found = [KeyBias.build(visibility, query_start + start, n, keys, dtype) for start, n in counts.items()]
        # Of several documents, a block sees few: which, is in the table, and that can be read here.
        reads = visibility.common_body_start is None and not torch.compiler.is_compiling()
        return [_seen(bias) for bias in found] if reads else found

    biases = visibility.once("row blocks", (query_start, rows, keys, dtype), build)
    if wants_backward(q_BHMD, k_BGND, v_BGND):
        return _RowBlocks.apply(q_BHMD, k_BGND, v_BGND, biases, scale)
    blocks = zip(q_BHMD.split(BLOCK_ROWS, dim=2), biases, strict=True)
    return torch.cat([_attend(q, k_BGND, v_BGND, bias, scale)[0] for q, bias in blocks], dim=2)


def _seen(bias: KeyBias) -> KeyBias:
    """The same without the first and the last keys that no row sees."""
    (keys,) = bias.keys
    seen = (bias.bias_B1MS == 0).flatten(0, 2).any(dim=0).nonzero()
    first, last = int(seen[0]), int(seen[-1])
    return KeyBias(
        (slice(keys.start + first, keys.start + last + 1),), bias.bias_B1MS[..., first : last + 1].contiguous()
    )


def _attend(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, bias: KeyBias, scale: float
) -> tuple[Tensor, Tensor]:  # the result, and the weights (B, H, M, S)
    """Attention of one block. Query heads that share a key head are more rows of it: no key is repeated."""
    batch, key_heads = k_BGND.shape[:2]
    k_XSD, v_XSD = _by_head(bias.reached(k_BGND)), _by_head(bias.reached(v_BGND))
    q_XYD = _rows_by_head(q_BHMD, key_heads)
    # The scale goes into the product, where it is applied before rounding; beta=0 adds nothing to it.
    scores_XYS = torch.baddbmm(q_XYD.new_empty(1, 1, 1), q_XYD, k_XSD.mT, beta=0, alpha=scale)
    scores_BHMS = rearrange(scores_XYS, "(b g) (r m) s -> b (g r) m s", b=batch, m=q_BHMD.shape[2])
    weights_BHMS = scores_BHMS.add_(bias.bias_B1MS).softmax(dim=-1)
    out_XYD = torch.bmm(_rows_by_head(weights_BHMS, key_heads), v_XSD)
    return rearrange(out_XYD, "(b g) (r m) d -> b (g r) m d", b=batch, m=q_BHMD.shape[2]), weights_BHMS


def _by_head(x_BGND: Tensor) -> Tensor:
    return rearrange(x_BGND, "b g s d -> (b g) s d")


def _rows_by_head(x_BHMD: Tensor, key_heads: int) -> Tensor:
    return rearrange(x_BHMD, "b (g r) m d -> (b g) (r m) d", g=key_heads)


class _RowBlocks(torch.autograd.Function):
    """All blocks, with their gradient; what each adds to that of keys and values goes where it belongs at once."""

    @staticmethod
    def forward(
        ctx: Any, q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, biases: list[KeyBias], scale: float
    ) -> Tensor:
        k_BGND, v_BGND = k_BGND.contiguous(), v_BGND.contiguous()
        # Rows before heads, as the projection that follows reads them.
        batch, heads, count, width = q_BHMD.shape
        out_BHMD = rearrange(q_BHMD.new_empty(batch, count, heads, width), "b m h d -> b h m d")
        kept = []
        for start, bias in zip(range(0, q_BHMD.shape[2], BLOCK_ROWS), biases, strict=True):
            rows = slice(start, start + BLOCK_ROWS)
            out_BHMD[:, :, rows], weights_BHMS = _attend(q_BHMD[:, :, rows], k_BGND, v_BGND, bias, scale)
            kept.append(weights_BHMS)
        ctx.save_for_backward(q_BHMD, k_BGND, v_BGND, *kept)
        ctx.biases, ctx.scale = biases, scale
        return out_BHMD

    @staticmethod
    @by_hand
    def backward(ctx: Any, grad_BHMD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        q_BHMD, k_BGND, v_BGND, *kept = ctx.saved_tensors
        key_heads = k_BGND.shape[1]
        of_q_BHMD = q_BHMD.new_empty(q_BHMD.shape)
        of_k_BGND, of_v_BGND = torch.zeros_like(k_BGND), torch.zeros_like(v_BGND)
        of_k_XND, of_v_XND = of_k_BGND.flatten(0, 1), of_v_BGND.flatten(0, 1)
        for index, (bias, weights_BHMS) in enumerate(zip(ctx.biases, kept, strict=True)):
            rows = slice(index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS)
            q_XYD = _rows_by_head(q_BHMD[:, :, rows], key_heads)
            grad_XYD = _rows_by_head(grad_BHMD[:, :, rows], key_heads)
            weights_XYS = _rows_by_head(weights_BHMS, key_heads)
            of_weights_XYS = torch.bmm(grad_XYD, _by_head(bias.reached(v_BGND)).mT)
            of_scores_XYS = torch.ops.aten._softmax_backward_data(of_weights_XYS, weights_XYS, -1, weights_XYS.dtype)
            first = 0
            for keys in bias.keys:
                columns = slice(first, first := first + keys.stop - keys.start)
                of_v_XND[:, keys].baddbmm_(weights_XYS[..., columns].mT, grad_XYD)
                of_k_XND[:, keys].baddbmm_(of_scores_XYS[..., columns].mT, q_XYD, alpha=ctx.scale)
            nothing = q_XYD.new_empty(1, 1, 1)
            k_XSD = _by_head(bias.reached(k_BGND))
            of_q_XYD = torch.baddbmm(nothing, of_scores_XYS, k_XSD, beta=0, alpha=ctx.scale)
            of_q_BHMD[:, :, rows] = rearrange(
                of_q_XYD, "(b g) (r m) d -> b (g r) m d", g=key_heads, b=len(q_BHMD), m=weights_BHMS.shape[2]
            )
        return of_q_BHMD, of_k_BGND, of_v_BGND, None, None
