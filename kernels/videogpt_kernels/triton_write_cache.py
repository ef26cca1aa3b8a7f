"""QK-norm, rotary positions and the cache write in one Triton kernel: see `write_cache`.

One program takes one head of one new row: the rows of a step are few, and each is read and written once.
Everything is computed in float32 and rounded once, to the cache's dtype or to int8.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# What @triton.jit makes of a function, and what is inside, is not Python to a type checker.

import torch
import triton
import triton.language as tl
from torch import Tensor

from videogpt_kernels.launches import channels_side_by_side
from videogpt_kernels.pool import STEPS_OF_INT8, LayerPool, Step
from videogpt_kernels.reference import SHORTEST

# B sequences, M new rows, H query heads, G key heads, A = H + 2 G heads of all three, S slots, D channels, P = D / 2

_WARPS_PER_HEAD = 1


@triton.jit
def slot_of(row, prompt_slot, ring_slot, prompt_rows, ring_rows):
    """Slots of rows: the prompt's first, then a ring."""
    later = tl.maximum(row - prompt_rows, 0) % ring_rows
    return tl.where(row < prompt_rows, prompt_slot + row, ring_slot + later).to(tl.int64)


@triton.jit
def _write_pairs(held_ptr, scales_ptr, slot, held_slot, first, second, pair, inside,
                 PAIRS: tl.constexpr, QUANTIZED: tl.constexpr, STEPS: tl.constexpr):  # fmt: skip
    """One row of one head, into its slot."""
    if QUANTIZED:
        highest = tl.maximum(tl.max(tl.abs(first), 0), tl.max(tl.abs(second), 0))
        scale = highest / STEPS
        tl.store(scales_ptr + slot, scale)
        scale = tl.where(scale > 0, scale, 1.0)
        first, second = tl.floor(first / scale + 0.5), tl.floor(second / scale + 0.5)
    place = held_ptr + slot * held_slot + pair
    tl.store(place, first.to(held_ptr.dtype.element_ty), mask=inside)
    tl.store(place + PAIRS, second.to(held_ptr.dtype.element_ty), mask=inside)


@triton.jit
def write_cache_kernel(
    qkv_ptr, gain_ptr, cos_ptr, sin_ptr, q_ptr, keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr, places_ptr,
    qkv_batch, qkv_row, qkv_head, turn_batch, turn_row, q_batch, q_row, q_head, held_head, held_slot, scales_head,
    rows, query_heads, key_heads, prompt_rows, ring_rows, shortest,
    PAIRS: tl.constexpr, WIDTH: tl.constexpr, QUANTIZED: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    batch_and_row, head = tl.program_id(0), tl.program_id(1)
    batch, row = (batch_and_row // rows).to(tl.int64), (batch_and_row % rows).to(tl.int64)
    pair = tl.arange(0, WIDTH)
    inside = pair < PAIRS
    qkv_ptr += batch * qkv_batch + row * qkv_row + head * qkv_head
    first = tl.load(qkv_ptr + pair, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(qkv_ptr + PAIRS + pair, mask=inside, other=0.0).to(tl.float32)
    places_ptr += batch * 3
    number = tl.load(places_ptr) + row.to(tl.int32)
    slot = slot_of(number, tl.load(places_ptr + 1), tl.load(places_ptr + 2), prompt_rows, ring_rows)

    if head < query_heads + key_heads:
        length = tl.sqrt(tl.sum(first * first + second * second, 0))
        root = tl.sqrt(2.0 * PAIRS)
        scale = root / tl.maximum(length, shortest) * tl.load(gain_ptr + head).to(tl.float32)
        first, second = first * scale, second * scale
        turn = batch * turn_batch + row * turn_row
        cos = tl.load(cos_ptr + turn + pair, mask=inside, other=0.0).to(tl.float32)
        sin = tl.load(sin_ptr + turn + PAIRS + pair, mask=inside, other=0.0).to(tl.float32)
        first, second = first * cos - second * sin, second * cos + first * sin
    if head < query_heads:
        place = q_ptr + batch * q_batch + row * q_row + head * q_head + pair
        tl.store(place, first.to(q_ptr.dtype.element_ty), mask=inside)
        tl.store(place + PAIRS, second.to(q_ptr.dtype.element_ty), mask=inside)
    elif head < query_heads + key_heads:
        key_head = (head - query_heads).to(tl.int64)
        _write_pairs(keys_ptr + key_head * held_head, key_scales_ptr + key_head * scales_head, slot, held_slot,
                     first, second, pair, inside, PAIRS, QUANTIZED, STEPS)  # fmt: skip
    else:
        key_head = (head - query_heads - key_heads).to(tl.int64)
        _write_pairs(values_ptr + key_head * held_head, value_scales_ptr + key_head * scales_head, slot, held_slot,
                     first, second, pair, inside, PAIRS, QUANTIZED, STEPS)  # fmt: skip


def triton_write_cache(
    qkv_BMAD: Tensor, gain_H: Tensor, cos_BM1D: Tensor, sin_BM1D: Tensor, pool: LayerPool, step: Step
) -> Tensor:
    """As `videogpt_kernels.write_cache`."""
    pool.check()
    given = (channels_side_by_side(qkv_BMAD), gain_H.contiguous(), cos_BM1D.contiguous(), sin_BM1D.contiguous())
    return _write_cache(*given, *pool, step.places_B3, step.prompt_rows, step.ring_rows)


@torch.library.custom_op(
    "videogpt_kernels::write_cache", mutates_args=("keys_GSD", "values_GSD", "key_scales_GS", "value_scales_GS")
)
def _write_cache(
    qkv_BMAD: Tensor, gain_H: Tensor, cos_BM1D: Tensor, sin_BM1D: Tensor,
    keys_GSD: Tensor, values_GSD: Tensor, key_scales_GS: Tensor | None, value_scales_GS: Tensor | None,
    places_B3: Tensor, prompt_rows: int, ring_rows: int,
) -> Tensor:  # fmt: skip
    """Queries (B, H, M, D); keys and values go into their slots."""
    (batch, rows, heads, width), key_heads = qkv_BMAD.shape, keys_GSD.shape[0]
    query_heads = heads - 2 * key_heads
    q_BHMD = qkv_BMAD.new_empty((batch, query_heads, rows, width))
    quantized = key_scales_GS is not None
    # Pointers that are never followed, where there are no scales.
    scales = (key_scales_GS, value_scales_GS) if quantized else (places_B3, places_B3)
    with torch.cuda.device_of(qkv_BMAD):  # Triton launches on the current device
        write_cache_kernel[(batch * rows, heads)](
            qkv_BMAD, gain_H, cos_BM1D, sin_BM1D, q_BHMD, keys_GSD, values_GSD, *scales, places_B3,
            *qkv_BMAD.stride()[:3], cos_BM1D.stride(0) if cos_BM1D.shape[0] > 1 else 0, cos_BM1D.stride(1),
            q_BHMD.stride(0), q_BHMD.stride(2), q_BHMD.stride(1), *keys_GSD.stride()[:2], keys_GSD.shape[1],
            rows, query_heads, key_heads, prompt_rows, ring_rows, SHORTEST,
            **write_cache_constants(width), QUANTIZED=quantized,
        )  # fmt: skip
    return q_BHMD


@_write_cache.register_fake
def _(qkv_BMAD, gain_H, cos, sin, keys_GSD, values_GSD, key_scales, value_scales, places, prompt_rows, ring_rows):
    batch, rows, heads, width = qkv_BMAD.shape
    return qkv_BMAD.new_empty((batch, heads - 2 * keys_GSD.shape[0], rows, width))


def write_cache_constants(width: int) -> dict[str, int]:
    """Keyword arguments of the kernel for heads of `width`."""
    pairs = width // 2
    padded_pairs = 1 << (pairs - 1).bit_length()
    return {"PAIRS": pairs, "WIDTH": padded_pairs, "STEPS": STEPS_OF_INT8, "num_warps": _WARPS_PER_HEAD}
