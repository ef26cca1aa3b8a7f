"""Split-KV attention over a cache in Triton, and the kernel that combines the splits: see `decode_attention`.

A program owns a split of the keys of one key head, and a tile of rows that are the new rows of all query heads that
share it. What the rows see is two ranges of row numbers, cut into tiles that are dealt out to a fixed number of
splits: the grid does not depend on the length, and a split may be empty. It then holds zeros with a log-sum so low
that it weighs nothing (Dao et al., "Flash-Decoding", 2023).
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# What @triton.jit makes of a function, and what is inside, is not Python to a type checker.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from videogpt_kernels.forward import HIDDEN, LOG2_E, visible
from videogpt_kernels.launches import Launch, architecture_of, channels_side_by_side, padded
from videogpt_kernels.pool import LayerPool, Step
from videogpt_kernels.tiles import TileShape
from videogpt_kernels.triton_write_cache import slot_of
from videogpt_kernels.visibility import NOWHERE, Visibility

# B sequences, H query heads, G key heads, R = H / G, M new rows, N key rows, S slots, P splits, D channels of a head

FAR = tl.constexpr(NOWHERE)
MOST_SPLITS = 64
PROGRAMS_PER_PROCESSOR = 4
INTERPRETED_PROCESSORS = 1


def decode_launch(
    architecture: str, packed_rows: int, width: int, dtype: torch.dtype, *, quantized: bool, windowed: bool
) -> Launch:
    """For so many rows per key head (query heads that share it, times new rows); a tile holds 16 or 64 of them.

    Chosen as in `launches`: no spills.
    """
    rocm = architecture == "gfx942"
    registers = None if rocm else 255
    if dtype.itemsize > 2:  # exact rather than fast
        return Launch(TileShape(16, 16), 8 if windowed or width > 64 else 4, 1, None, registers)
    # The mask of a window takes registers.
    queries = 16 if windowed or packed_rows <= 16 else 64
    keys = 64 if width <= 128 else 32
    if windowed or (queries == 64 and (rocm or quantized)):
        keys //= 2
    stages = 3 if width <= 64 and not (windowed or quantized) else 2
    return Launch(TileShape(queries, keys), 8 if queries == 64 else 4, stages, None, registers)


def decode_constants(launch: Launch, width: int, *, quantized: bool, windowed: bool) -> dict[str, Any]:
    """Keyword arguments of the decoding kernel for heads of `width`."""
    return {**launch.constants(width), "QUANTIZED": quantized, "WINDOWED": windowed}


@triton.jit
def decode_kernel(
    q_ptr, keys_ptr, values_ptr, key_scales_ptr, value_scales_ptr, part_ptr, lse_ptr, limits_ptr, places_ptr,
    q_batch, q_head, q_row, held_head, held_slot, scales_head,
    scale, rows, key_heads, group, prompt_rows, ring_rows,
    first_code, tile_tokens, tiles_high, tiles_wide, reach_high, reach_wide,
    D: tl.constexpr, WIDTH: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
    QUANTIZED: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    split, tile, batch_and_head = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    splits = tl.num_programs(0)
    batch, key_head = (batch_and_head // key_heads).to(tl.int64), (batch_and_head % key_heads).to(tl.int64)
    packed_M = tile * TILE_M + tl.arange(0, TILE_M)
    packed_rows = rows * group
    exists = packed_M < packed_rows
    row_M, head_M = packed_M // group, key_head * group + packed_M % group
    channel = tl.arange(0, WIDTH)
    place = q_ptr + batch * q_batch + head_M[:, None] * q_head + row_M[:, None].to(tl.int64) * q_row + channel[None, :]
    q = tl.load(place, mask=exists[:, None] & (channel[None, :] < D), other=0.0)

    limits_ptr += batch * 4 * rows
    prefix_start = tl.load(limits_ptr + row_M, mask=exists, other=0)
    prefix_end = tl.load(limits_ptr + rows + row_M, mask=exists, other=0)
    low = tl.load(limits_ptr + 2 * rows + row_M, mask=exists, other=FAR)
    high = tl.load(limits_ptr + 3 * rows + row_M, mask=exists, other=-1)
    places_ptr += batch * 3
    length, prompt_slot, ring_slot = tl.load(places_ptr), tl.load(places_ptr + 1), tl.load(places_ptr + 2)
    end = length + rows
    # Two ranges that hold all that the rows see, and do not overlap: up to the last prefix, and behind it.
    has_prefix = prefix_end > prefix_start
    middle = tl.minimum(tl.max(tl.where(has_prefix, prefix_end, 0), 0), end)
    lowest = tl.min(low, 0)
    first = tl.minimum(tl.minimum(tl.min(tl.where(has_prefix, prefix_start, FAR), 0), lowest), middle)
    second = tl.maximum(lowest, middle)
    stop = tl.maximum(tl.minimum(tl.max(high, 0) + 1, end), second)
    first_tiles = tl.cdiv(middle - first, TILE_N)
    tiles = first_tiles + tl.cdiv(stop - second, TILE_N)
    per_split = tl.cdiv(tiles, splits)

    prefix_start, prefix_end, low, high = prefix_start[:, None], prefix_end[:, None], low[:, None], high[:, None]
    if WINDOWED:
        area = tiles_high * tiles_wide
        query_code = length + row_M - first_code
        query_tile = tl.maximum(query_code, 0) // tile_tokens % area
        query_high, query_wide = query_tile // tiles_wide, query_tile % tiles_wide
    keys_ptr += key_head * held_head
    values_ptr += key_head * held_head
    key_scales_ptr += key_head * scales_head
    value_scales_ptr += key_head * scales_head
    highest = tl.full((TILE_M,), HIDDEN, tl.float32)
    total = tl.zeros((TILE_M,), tl.float32)
    out = tl.zeros((TILE_M, WIDTH), tl.float32)
    for visit in range(split * per_split, tl.minimum((split + 1) * per_split, tiles)):
        before = visit < first_tiles
        start = tl.where(before, first + visit * TILE_N, second + (visit - first_tiles) * TILE_N)
        key_N = start + tl.arange(0, TILE_N)
        held = key_N < tl.where(before, middle, stop)
        seen = visible(prefix_start, prefix_end, low, high, key_N, end) & held[None, :] & exists[:, None]
        if WINDOWED:
            key_code = key_N - first_code
            key_tile = tl.maximum(key_code, 0) // tile_tokens % area
            key_high, key_wide = key_tile // tiles_wide, key_tile % tiles_wide
            apart_high = tl.abs(query_high[:, None] - key_high[None, :])
            apart_wide = tl.abs(query_wide[:, None] - key_wide[None, :])
            near = (apart_high <= reach_high) & (apart_wide <= reach_wide)
            in_prefix = (key_N[None, :] >= prefix_start) & (key_N[None, :] < prefix_end)
            seen = seen & (near | in_prefix | (query_code < 0)[:, None] | (key_code < 0)[None, :])
            held = tl.max(seen.to(tl.int32), 0) > 0  # what no row sees is not read
        slot = slot_of(key_N, prompt_slot, ring_slot, prompt_rows, ring_rows)
        inside = held[:, None] & (channel[None, :] < D)
        k = tl.load(keys_ptr + slot[:, None] * held_slot + channel[None, :], mask=inside, other=0.0).to(q.dtype)
        scores = tl.dot(q, tl.trans(k), input_precision="ieee") * (scale * LOG2_E)
        if QUANTIZED:
            scores = scores * tl.load(key_scales_ptr + slot, mask=held, other=0.0)[None, :]
        scores = tl.where(seen, scores, HIDDEN)
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        weights = tl.where(seen, tl.exp2(scores - new_highest[:, None]), 0.0)
        shrink = tl.exp2(highest - new_highest)
        total = total * shrink + tl.sum(weights, 1)
        v = tl.load(values_ptr + slot[:, None] * held_slot + channel[None, :], mask=inside, other=0.0).to(q.dtype)
        if QUANTIZED:
            weights = weights * tl.load(value_scales_ptr + slot, mask=held, other=0.0)[None, :]
        out = out * shrink[:, None] + tl.dot(weights.to(q.dtype), v, input_precision="ieee")
        highest = new_highest
    sees = total > 0.0
    total = tl.where(sees, total, 1.0)
    lse = tl.where(sees, highest + tl.log2(total), HIDDEN)
    packed = (split * tl.num_programs(2) + batch_and_head).to(tl.int64) * packed_rows + packed_M
    place = part_ptr + packed[:, None] * D + channel[None, :]
    tl.store(place, out / total[:, None], mask=exists[:, None] & (channel[None, :] < D))
    tl.store(lse_ptr + packed, lse, mask=exists)


@triton.jit
def combine_kernel(
    part_ptr, lse_ptr, out_ptr, out_batch, out_head, out_row, rows, key_heads, group, splits,
    D: tl.constexpr, WIDTH: tl.constexpr, MOST: tl.constexpr,
):  # fmt: skip
    """One row of one query head, from all splits."""
    packed, batch_and_head = tl.program_id(0), tl.program_id(1)
    batch, key_head = (batch_and_head // key_heads).to(tl.int64), (batch_and_head % key_heads).to(tl.int64)
    split = tl.arange(0, MOST)
    of_split = (split * tl.num_programs(1) + batch_and_head).to(tl.int64) * (rows * group) + packed
    lse = tl.load(lse_ptr + of_split, mask=split < splits, other=HIDDEN)
    weights = tl.where(lse > 0.5 * HIDDEN, tl.exp2(lse - tl.max(lse, 0)), 0.0)
    weights = weights / tl.sum(weights, 0)
    channel = tl.arange(0, WIDTH)
    inside = (split < splits)[:, None] & (channel < D)[None, :]
    part = tl.load(part_ptr + of_split[:, None] * D + channel[None, :], mask=inside, other=0.0)
    out = tl.sum(part * weights[:, None], 0)
    head = key_head * group + packed % group
    place = out_ptr + batch * out_batch + head * out_head + (packed // group).to(tl.int64) * out_row + channel
    tl.store(place, out.to(out_ptr.dtype.element_ty), mask=channel < D)


def triton_decode_attention(q_BHMD: Tensor, pool: LayerPool, step: Step, scale: float) -> Tensor:
    """As `videogpt_kernels.decode_attention`."""
    pool.check()
    places = (step.limits_B4M, step.places_B3, step.prompt_rows, step.ring_rows, step.prompt_rows + step.ring_rows)
    return _decode_attention(channels_side_by_side(q_BHMD), *pool, *places, window_numbers(step.visibility), scale)


def window_numbers(visibility: Visibility) -> list[int]:
    """First row of the first tile, then the numbers of a `TileWindow` in their order; empty without one."""
    window = visibility.tile_window
    if window is None:
        return []
    first_code = visibility.body_start + visibility.frame_offset
    reach = [window.reach_high, window.reach_wide]
    return [first_code, window.tile_tokens, window.tiles_high, window.tiles_wide, *reach]


def splits_for(programs: int, most_keys: int, keys: int, processors: int) -> int:
    """Splits of the keys that keep all processors busy; of a length they know nothing."""
    wanted = -(-PROGRAMS_PER_PROCESSOR * processors // programs)
    return max(1, min(wanted, MOST_SPLITS, -(-most_keys // keys)))


@torch.library.custom_op("videogpt_kernels::decode_attention", mutates_args=())
def _decode_attention(
    q_BHMD: Tensor, keys_GSD: Tensor, values_GSD: Tensor, key_scales_GS: Tensor | None, value_scales_GS: Tensor | None,
    limits_B4M: Tensor, places_B3: Tensor, prompt_rows: int, ring_rows: int, most_keys: int,
    window: list[int], scale: float,
) -> Tensor:  # fmt: skip
    """Outputs in the dtype of q."""
    (batch, heads, rows, width), key_heads = q_BHMD.shape, keys_GSD.shape[0]
    group, quantized = heads // key_heads, key_scales_GS is not None
    kind = {"quantized": quantized, "windowed": bool(window)}
    launch = decode_launch(architecture_of(q_BHMD.device), rows * group, width, q_BHMD.dtype, **kind)
    row_tiles = -(-rows * group // launch.tile.queries)
    splits = splits_for(batch * key_heads * row_tiles, most_keys, launch.tile.keys, _processors(q_BHMD.device))
    part = q_BHMD.new_empty((splits, batch, key_heads, rows * group, width), dtype=torch.float32)
    lse = q_BHMD.new_empty(part.shape[:-1], dtype=torch.float32)
    # Pointers that are never followed, where there are no scales.
    scales = (key_scales_GS, value_scales_GS) if quantized else (lse, lse)
    out_BHMD = q_BHMD.new_empty(q_BHMD.shape)
    with torch.cuda.device_of(q_BHMD):  # Triton launches on the current device
        decode_kernel[(splits, row_tiles, batch * key_heads)](
            q_BHMD, keys_GSD, values_GSD, *scales, part, lse, limits_B4M, places_B3,
            *q_BHMD.stride()[:3], *keys_GSD.stride()[:2], keys_GSD.shape[1],
            scale, rows, key_heads, group, prompt_rows, ring_rows, *(window or [0, 1, 1, 1, 0, 0]),
            **decode_constants(launch, width, **kind),
        )  # fmt: skip
        combine_kernel[(rows * group, batch * key_heads)](
            part, lse, out_BHMD, *out_BHMD.stride()[:3], rows, key_heads, group, splits,
            **combine_constants(width, splits),
        )  # fmt: skip
    return out_BHMD


@_decode_attention.register_fake
def _(q_BHMD, keys, values, key_scales, value_scales, limits, places, prompt_rows, ring_rows, most, window, scale):
    return q_BHMD.new_empty(q_BHMD.shape)


def combine_constants(width: int, splits: int) -> dict[str, int]:
    """Keyword arguments of the combining kernel."""
    return {"D": width, "WIDTH": padded(width), "MOST": 1 << (splits - 1).bit_length(), "num_warps": 4}


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return INTERPRETED_PROCESSORS
    return torch.cuda.get_device_properties(device).multi_processor_count
