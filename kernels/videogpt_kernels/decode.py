"""Attention of a few new rows over a cache: what a step of sampling waits for.

    out_BHMD = decode_attention(q_BHMD, pool, step)

One to 64 rows, each with its own limit, so that speculative and diagonal decoding need nothing else; more are
allowed. On CUDA the keys are split among programs whose results are combined (Dao et al., "Flash-Decoding",
2023), and the query heads that share a key head are rows of one tile, so that the cache is read once. Elsewhere
PyTorch does it. Refuses what does not fit together, naming it, without waiting for the device.
"""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from videogpt_kernels.attention import attention
from videogpt_kernels.dispatch import takes_triton, why_not_float32_triton
from videogpt_kernels.key_bias import KeyBias
from videogpt_kernels.pool import LayerPool, Step
from videogpt_kernels.sdpa import sdpa_attention

# B sequences, H query heads, G key heads, M new rows, N rows held, S slots, D channels of a head

WIDEST_WINDOWED_FLOAT32 = 128
"""With wider ones the kernel has too few registers for the mask."""
_Piece = list[Tensor]
"""Some rows of all sequences, in int8: keys and values (G, B, N, D), and the scales of each (G, B, N)."""


def decode_attention(
    q_BHMD: Tensor, pool: LayerPool, step: Step, *, scale: float | None = None, impl: str = "auto"
) -> Tensor:
    """softmax(scale * q k^T) v over the rows in the cache that the step's visibility shows to each new row.

    The result has the shape and dtype of q, and is never NaN for finite inputs. Under autocast it is computed in the
    dtype of the cache.

    Args:
        q_BHMD: queries of the step's rows, whose keys and values are in the cache already (`write_cache`). H is a
            multiple of G: query head h reads key head h // (H / G).
        pool: the layer's keys and values.
        step: rows, places and visibility.
        scale: factor on the scores; None is D ** -0.5.
        impl: "auto", "triton" or "torch".
    """
    device_type, given = q_BHMD.device.type, q_BHMD.dtype
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        # The cache's dtype decides: to cast all that it holds would cost more than the product.
        q_BHMD = q_BHMD if pool.quantized else q_BHMD.to(pool.keys_GSD.dtype)
        with torch.autocast(device_type, enabled=False):
            return decode_attention(q_BHMD, pool, step, scale=scale, impl=impl).to(given)
    _check_step(q_BHMD, pool, step)
    scale = float(q_BHMD.shape[3] ** -0.5 if scale is None else scale)
    if takes_triton(impl, device_type, lambda: _why_not_decode_kernel(q_BHMD, step)):
        from videogpt_kernels.triton_decode import triton_decode_attention

        return triton_decode_attention(q_BHMD, pool, step, scale)
    if pool.quantized:
        return _attend_int8(q_BHMD, *_pieces(pool, step), scale)
    if step.contiguous:
        end, (key_heads, _, width) = step.start + step.rows, pool.keys_GSD.shape
        shape = (key_heads, q_BHMD.shape[0], -1, width)
        k_BGND, v_BGND = (x.view(shape).narrow(2, 0, end).transpose(0, 1) for x in pool[:2])
        # For a single row attention() would choose the same, after checks that take a third of the time.
        run = sdpa_attention if step.rows == 1 and device_type == "cpu" else attention
        return run(q_BHMD, k_BGND, v_BGND, step.visibility, query_start=step.start, scale=scale)
    return _attend_gathered(q_BHMD, pool, step, scale)


def _attend_gathered(q_BHMD: Tensor, pool: LayerPool, step: Step, scale: float) -> Tensor:
    """Attention over a copy of all rows held, in the order of their places."""
    key_heads, heads = pool.keys_GSD.shape[0], q_BHMD.shape[1]
    k_BGND, v_BGND = (held_GSD[:, step.held_slots_BN].transpose(0, 1) for held_GSD, _ in pool.parts())
    # Query heads that share a key head as rows of one head: a CPU multiplies matrices faster than vectors.
    q_BGRD = rearrange(q_BHMD, "b (g r) m d -> b g (r m) d", g=key_heads)
    bias_B1RN = repeat(step.bias_B1MN.to(q_BHMD.dtype), "b 1 m n -> b 1 (r m) n", r=heads // key_heads)
    out_BGRD = F.scaled_dot_product_attention(q_BGRD, k_BGND, v_BGND, attn_mask=bias_B1RN, scale=scale)
    return rearrange(out_BGRD, "b g (r m) d -> b (g r) m d", m=step.rows)


def _pieces(pool: LayerPool, step: Step) -> tuple[list[_Piece], Tensor]:
    """The prefix and the window, or all rows so far, as views; else a copy of all rows held. And the mask over them."""
    if not step.contiguous:
        return [[x[:, step.held_slots_BN] for x in pool if x is not None]], step.bias_B1MN
    key = (step.start, step.rows, step.start + step.rows, torch.float32)
    bias = step.visibility.once("decode", key, lambda: KeyBias.build(step.visibility, *key))
    batch = len(step.lengths)
    whole = [x.unflatten(1, (batch, -1)) for x in pool if x is not None]
    return [[x[:, :, rows] for x in whole] for rows in bias.keys], bias.bias_B1MS


def _attend_int8(q_BHMD: Tensor, pieces: list[_Piece], bias_B1MN: Tensor, scale: float) -> Tensor:
    """Scores and weights are multiplied by the scales, not keys and values, of which there are more.

    In float16 weights of many rows, times their scales, are too small to be told from zero: float32 takes its place.
    """
    key_heads, batch, rows, given = len(pieces[0][0]), len(q_BHMD), q_BHMD.shape[2], q_BHMD.dtype
    q_BHMD = q_BHMD.float() if given == torch.float16 else q_BHMD
    q_XYD = rearrange(q_BHMD, "b (g r) m d -> (g b) (r m) d", g=key_heads)

    def scores(k_GBND: Tensor, scales_GBN: Tensor) -> Tensor:
        k_XND = k_GBND.flatten(0, 1).to(q_XYD.dtype)
        scores_XYN = torch.baddbmm(q_XYD.new_empty(1, 1, 1), q_XYD, k_XND.mT, beta=0, alpha=scale)
        return scores_XYN * scales_GBN.flatten(0, 1)[:, None].to(q_XYD.dtype)

    scores_XYN = torch.cat([scores(k_GBND, k_scales_GBN) for k_GBND, _, k_scales_GBN, _ in pieces], dim=-1)
    scores_GBRMN = rearrange(scores_XYN, "(g b) (r m) n -> g b r m n", g=key_heads, m=rows)
    weights_XYN = scores_GBRMN.add_(bias_B1MN).softmax(dim=-1).view(scores_XYN.shape)
    out_XYD = torch.zeros_like(q_XYD)
    parts = weights_XYN.split([k_GBND.shape[2] for k_GBND, *_ in pieces], dim=-1)
    for (_, v_GBND, _, v_scales_GBN), part_XYN in zip(pieces, parts, strict=True):
        part_XYN = part_XYN * v_scales_GBN.flatten(0, 1)[:, None].to(q_XYD.dtype)
        out_XYD.baddbmm_(part_XYN, v_GBND.flatten(0, 1).to(q_XYD.dtype))
    return rearrange(out_XYD, "(g b) (r m) d -> b (g r) m d", b=batch, m=rows).to(given)


def _why_not_decode_kernel(q_BHMD: Tensor, step: Step) -> str | None:
    if step.visibility.tile_window is None:
        return why_not_float32_triton(q_BHMD)
    if step.visibility.common_body_start is None:
        return "tile_window with packed documents has no common tiles"
    if q_BHMD.dtype.itemsize > 2 and q_BHMD.shape[3] > WIDEST_WINDOWED_FLOAT32:
        return f"q is {q_BHMD.dtype} with heads of width {q_BHMD.shape[3]}, and there is a tile_window"
    return why_not_float32_triton(q_BHMD)


def _check_step(q_BHMD: Tensor, pool: LayerPool, step: Step) -> None:
    (batch, heads, rows, width), (key_heads, _, key_width) = q_BHMD.shape, pool.keys_GSD.shape
    if (batch, rows) != (len(step.lengths), step.rows):
        raise ValueError(f"q has {batch} x {rows} rows, the step has {len(step.lengths)} x {step.rows}")
    if width != key_width or heads % key_heads:
        found = f"q has {heads} heads of width {width}, the cache {key_heads} of width {key_width}"
        raise ValueError(f"{found}: give equal widths, and a multiple of the cache's heads")
    if not pool.quantized and q_BHMD.dtype != pool.keys_GSD.dtype:
        raise ValueError(f"q is {q_BHMD.dtype}, the cache holds {pool.keys_GSD.dtype}: cast one, or use an int8 cache")
    if not q_BHMD.device == pool.keys_GSD.device == step.places_B3.device == step.visibility.device:
        devices = f"{q_BHMD.device}, {pool.keys_GSD.device}, {step.places_B3.device}, {step.visibility.device}"
        raise ValueError(f"q, cache, step, visibility are on {devices}: move all to one device with their to()")
