"""Attention backward in Triton: one kernel for the queries' gradient, one for that of keys and values.

    dq, dk, dv = backward(q, k, v, out, lse, dout, dq_plan, dkv_plan, scale, launches)

The weights are computed anew from the scores and their log-sums (Dao et al., arXiv 2205.14135, appendix B).
Every number is summed by one program in a fixed order, without atomics: the same inputs give the same bits.
The heads that share a key head are summed by the program that owns it.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# What @triton.jit makes of a function, and what is inside, is not Python to a type checker.

import triton
import triton.language as tl
from torch import Tensor

from videogpt_kernels.forward import LOG2_E, exist, load_limits, load_tile, plan_of, store_tile, visible, visited_tile
from videogpt_kernels.launches import Launches
from videogpt_kernels.tiles import Plan

# B batch, H query heads, G key heads, M query rows, N key rows, D head dimension, T and S tiles of rows of each


@triton.jit
def dot_rows_kernel(
    x_ptr, y_ptr, dot_ptr, x_batch, x_head, x_row, y_batch, y_head, y_row, rows, heads,
    D: tl.constexpr, WIDTH: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Scalar products of the rows of two tensors: of outputs and their gradients, "delta" in the papers."""
    tile, batch_and_head = tl.program_id(0), tl.program_id(1)
    batch, head = (batch_and_head // heads).to(tl.int64), (batch_and_head % heads).to(tl.int64)
    row_M = tile * TILE_M + tl.arange(0, TILE_M)
    x = load_tile(x_ptr + batch * x_batch + head * x_head, row_M, rows, x_row, D, WIDTH).to(EXACT)
    y = load_tile(y_ptr + batch * y_batch + head * y_head, row_M, rows, y_row, D, WIDTH).to(EXACT)
    tl.store(dot_ptr + batch_and_head.to(tl.int64) * rows + row_M, tl.sum(x * y, 1), mask=row_M < rows)


@triton.jit
def dq_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, dq_ptr, lse_ptr, delta_ptr, limits_ptr, visits_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    dout_batch, dout_head, dout_row, dq_batch, dq_head, dq_row,
    scale, rows, keys, heads, group, rows_before, keys_before, longest,
    D: tl.constexpr, WIDTH: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr, EXACT: tl.constexpr,
    LISTED: tl.constexpr,
):  # fmt: skip
    tile, batch_and_head = tl.program_id(0), tl.program_id(1)
    batch, head = (batch_and_head // heads).to(tl.int64), (batch_and_head % heads).to(tl.int64)
    key_head = head // group
    row_M = tile * TILE_M - rows_before + tl.arange(0, TILE_M)
    q = load_tile(q_ptr + batch * q_batch + head * q_head, row_M, rows, q_row, D, WIDTH)
    dout = load_tile(dout_ptr + batch * dout_batch + head * dout_head, row_M, rows, dout_row, D, WIDTH)
    of_head = batch_and_head.to(tl.int64) * rows
    lse = tl.load(lse_ptr + of_head + row_M, mask=exist(row_M, rows), other=0.0)[:, None]
    delta = tl.load(delta_ptr + of_head + row_M, mask=exist(row_M, rows), other=0.0)[:, None]
    prefix_start, prefix_end, low, high = load_limits(limits_ptr + batch * 4 * rows, row_M, rows)
    plan_ptr, visits, first, count, second = plan_of(visits_ptr, batch, tile, longest, LISTED)

    k_ptr += batch * k_batch + key_head * k_head
    v_ptr += batch * v_batch + key_head * v_head
    dq = tl.zeros((TILE_M, WIDTH), EXACT)
    for visit in range(0, visits):
        key_tile = visited_tile(plan_ptr, visit, first, count, second, LISTED)
        key_N = key_tile * TILE_N - keys_before + tl.arange(0, TILE_N)
        k = load_tile(k_ptr, key_N, keys, k_row, D, WIDTH)
        v = load_tile(v_ptr, key_N, keys, v_row, D, WIDTH)
        scores = tl.dot(q, tl.trans(k), out_dtype=EXACT, input_precision="ieee") * (scale * LOG2_E)
        seen = visible(prefix_start, prefix_end, low, high, key_N, keys)
        weights = tl.where(seen, tl.exp2(scores - lse), 0.0)
        dweights = tl.dot(dout, tl.trans(v), out_dtype=EXACT, input_precision="ieee")
        dscores = weights * (dweights - delta)
        dq += tl.dot(dscores.to(k.dtype), k, out_dtype=EXACT, input_precision="ieee")
    store_tile(dq_ptr + batch * dq_batch + head * dq_head, row_M, rows, dq_row, dq * scale, D, WIDTH)


@triton.jit
def dkv_kernel(
    q_ptr, k_ptr, v_ptr, dout_ptr, dk_ptr, dv_ptr, lse_ptr, delta_ptr, limits_ptr, visits_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row,
    dout_batch, dout_head, dout_row, dk_batch, dk_head, dk_row, dv_batch, dv_head, dv_row,
    scale, rows, keys, heads, group, rows_before, keys_before, longest,
    D: tl.constexpr, WIDTH: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr, EXACT: tl.constexpr,
    LISTED: tl.constexpr,
):  # fmt: skip
    tile, batch_and_key_head = tl.program_id(0), tl.program_id(1)
    key_heads = heads // group
    batch, key_head = (batch_and_key_head // key_heads).to(tl.int64), (batch_and_key_head % key_heads).to(tl.int64)
    key_N = tile * TILE_N - keys_before + tl.arange(0, TILE_N)
    k = load_tile(k_ptr + batch * k_batch + key_head * k_head, key_N, keys, k_row, D, WIDTH)
    v = load_tile(v_ptr + batch * v_batch + key_head * v_head, key_N, keys, v_row, D, WIDTH)
    if LISTED:
        visits_ptr += tile * (longest + 1)
        tiles, first = tl.load(visits_ptr), 0
    else:
        visits_ptr += (batch * tl.num_programs(0) + tile) * 2
        first = tl.load(visits_ptr)
        tiles = tl.load(visits_ptr + 1) - first
    limits_ptr += batch * 4 * rows
    q_ptr += batch * q_batch
    dout_ptr += batch * dout_batch

    dk = tl.zeros((TILE_N, WIDTH), EXACT)
    dv = tl.zeros((TILE_N, WIDTH), EXACT)
    for visit in range(0, tiles * group):
        head = key_head * group + visit // tiles
        if LISTED:
            query_tile = tl.load(visits_ptr + 1 + visit % tiles)
        else:
            query_tile = first + visit % tiles
        row_M = query_tile * TILE_M - rows_before + tl.arange(0, TILE_M)
        q = load_tile(q_ptr + head * q_head, row_M, rows, q_row, D, WIDTH)
        dout = load_tile(dout_ptr + head * dout_head, row_M, rows, dout_row, D, WIDTH)
        of_head = (batch * heads + head) * rows
        lse = tl.load(lse_ptr + of_head + row_M, mask=exist(row_M, rows), other=0.0)[:, None]
        delta = tl.load(delta_ptr + of_head + row_M, mask=exist(row_M, rows), other=0.0)[:, None]
        prefix_start, prefix_end, low, high = load_limits(limits_ptr, row_M, rows)
        scores = tl.dot(q, tl.trans(k), out_dtype=EXACT, input_precision="ieee") * (scale * LOG2_E)
        seen = visible(prefix_start, prefix_end, low, high, key_N, keys)
        weights = tl.where(seen, tl.exp2(scores - lse), 0.0)
        dv += tl.dot(tl.trans(weights.to(dout.dtype)), dout, out_dtype=EXACT, input_precision="ieee")
        dweights = tl.dot(dout, tl.trans(v), out_dtype=EXACT, input_precision="ieee")
        dscores = weights * (dweights - delta)
        dk += tl.dot(tl.trans(dscores.to(q.dtype)), q, out_dtype=EXACT, input_precision="ieee")
    store_tile(dk_ptr + batch * dk_batch + key_head * dk_head, key_N, keys, dk_row, dk * scale, D, WIDTH)
    store_tile(dv_ptr + batch * dv_batch + key_head * dv_head, key_N, keys, dv_row, dv, D, WIDTH)


def backward(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, out_BHMD: Tensor, lse_BHM: Tensor, dout_BHMD: Tensor,
    dq_plan: Plan, dkv_plan: Plan, scale: float, launches: Launches,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v, contiguous, in their dtype."""
    (batch, heads, rows, width), (_, key_heads, keys, _) = q_BHMD.shape, k_BGND.shape
    group = heads // key_heads
    delta_BHM = lse_BHM.new_empty(lse_BHM.shape)
    dq_BHMD, dk_BGND, dv_BGND = (x.new_empty(x.shape) for x in (q_BHMD, k_BGND, v_BGND))
    dot_rows_kernel[(-(-rows // launches.dot_rows.tile.queries), batch * heads)](
        out_BHMD, dout_BHMD, delta_BHM, *out_BHMD.stride()[:3], *dout_BHMD.stride()[:3], rows, heads,
        **launches.dot_rows.constants(width),
    )  # fmt: skip
    inputs = (*q_BHMD.stride()[:3], *k_BGND.stride()[:3], *v_BGND.stride()[:3], *dout_BHMD.stride()[:3])
    dq_kernel[(dq_plan.tiles, batch * heads)](
        q_BHMD, k_BGND, v_BGND, dout_BHMD, dq_BHMD, lse_BHM, delta_BHM, dq_plan.limits_B4M, dq_plan.visits,
        *inputs, *dq_BHMD.stride()[:3],
        scale, rows, keys, heads, group, *dq_plan.margins, dq_plan.longest,
        **launches.dq.constants(width), LISTED=dq_plan.listed,
    )  # fmt: skip
    dkv_kernel[(dkv_plan.tiles, batch * key_heads)](
        q_BHMD, k_BGND, v_BGND, dout_BHMD, dk_BGND, dv_BGND, lse_BHM, delta_BHM, dkv_plan.limits_B4M, dkv_plan.visits,
        *inputs, *dk_BGND.stride()[:3], *dv_BGND.stride()[:3],
        scale, rows, keys, heads, group, *dkv_plan.margins, dkv_plan.longest,
        **launches.dkv.constants(width), LISTED=dkv_plan.listed,
    )  # fmt: skip
    return dq_BHMD, dk_BGND, dv_BGND
