"""Attention forward in Triton: one program per tile of query rows and head, over the tiles of keys it sees.

    out_BHMD, lse_BHM = forward(q_BHMD, k_BGND, v_BGND, plan, scale, launch)

The softmax is computed online (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2307.08691), in base 2, so
that the scores are touched once. `lse_BHM` is the base-2 logarithm of the sum of exponentials, which the
backward pass needs. Refuses nothing: `triton_attention` has checked the inputs.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# What @triton.jit makes of a function, and what is inside, is not Python to a type checker.

import triton
import triton.language as tl
from torch import Tensor

from videogpt_kernels.launches import Launch
from videogpt_kernels.tiles import Plan

# B batch, H query heads, G key heads, M query rows, N key rows, D head dimension, T tiles of query rows

LOG2_E = tl.constexpr(1.4426950408889634)
HIDDEN = tl.constexpr(-1e30)  # finite: the difference of two infinities is no number


@triton.jit
def exist(row_R, rows):
    """Tiles may begin before the first row and end behind the last."""
    return (row_R >= 0) & (row_R < rows)


@triton.jit
def load_tile(base, row_R, rows, row_stride, D: tl.constexpr, WIDTH: tl.constexpr):
    """Rows of a head (R, WIDTH), zero outside of `rows` and D. Offsets are 64 bits wide: tensors may be large."""
    channel = tl.arange(0, WIDTH)[None, :]
    place = base + row_R[:, None].to(tl.int64) * row_stride + channel
    if WIDTH == D:
        return tl.load(place, mask=exist(row_R, rows)[:, None], other=0.0)
    return tl.load(place, mask=exist(row_R, rows)[:, None] & (channel < D), other=0.0)


@triton.jit
def store_tile(base, row_R, rows, row_stride, x, D: tl.constexpr, WIDTH: tl.constexpr):
    """The reverse of `load_tile`."""
    channel = tl.arange(0, WIDTH)[None, :]
    place = base + row_R[:, None].to(tl.int64) * row_stride + channel
    tl.store(place, x.to(base.dtype.element_ty), mask=exist(row_R, rows)[:, None] & (channel < D))


@triton.jit
def load_limits(limits_ptr, row_M, rows):
    """Prefix start, prefix end, low and high of query rows, as columns; rows that do not exist see nothing."""
    inside = exist(row_M, rows)
    prefix_start = tl.load(limits_ptr + row_M, mask=inside, other=0)
    prefix_end = tl.load(limits_ptr + rows + row_M, mask=inside, other=0)
    low = tl.load(limits_ptr + 2 * rows + row_M, mask=inside, other=0)
    high = tl.load(limits_ptr + 3 * rows + row_M, mask=inside, other=-1)
    return prefix_start[:, None], prefix_end[:, None], low[:, None], high[:, None]


@triton.jit
def visible(prefix_start, prefix_end, low, high, key_N, keys):
    """Who sees whom in a tile of scores: (M, N)."""
    n = key_N[None, :]
    return ((n >= prefix_start) & (n < prefix_end)) | ((n >= low) & (n <= high) & (n < keys))


@triton.jit
def plan_of(visits_ptr, batch, tile, longest, LISTED: tl.constexpr):
    """Of a tile of queries: where its plan lies, how many tiles of keys it visits, and the two ranges they form.

    A listed plan, the same for all sequences, is their number and the tiles themselves; ranges mean nothing then.
    """
    if LISTED:
        visits_ptr += tile * (longest + 1)
        visits = tl.load(visits_ptr)
        first, count, second = visits, visits, visits
    else:
        visits_ptr += (batch * tl.num_programs(0) + tile) * 4
        first, second = tl.load(visits_ptr), tl.load(visits_ptr + 2)
        count = tl.load(visits_ptr + 1) - first
        visits = count + tl.load(visits_ptr + 3) - second
    return visits_ptr, visits, first, count, second


@triton.jit
def visited_tile(visits_ptr, visit, first, count, second, LISTED: tl.constexpr):
    """Number of the tile of keys of a visit."""
    if LISTED:
        tile = tl.load(visits_ptr + 1 + visit)
    else:
        tile = visit + tl.where(visit < count, first, second - count)
    return tile


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, limits_ptr, visits_ptr,
    q_batch, q_head, q_row, k_batch, k_head, k_row, v_batch, v_head, v_row, out_batch, out_head, out_row,
    scale, rows, keys, heads, group, rows_before, keys_before, longest,
    D: tl.constexpr, WIDTH: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr, EXACT: tl.constexpr,
    LISTED: tl.constexpr,
):  # fmt: skip
    tile, batch_and_head = tl.program_id(0), tl.program_id(1)
    batch, head = (batch_and_head // heads).to(tl.int64), (batch_and_head % heads).to(tl.int64)
    key_head = head // group
    row_M = tile * TILE_M - rows_before + tl.arange(0, TILE_M)
    q = load_tile(q_ptr + batch * q_batch + head * q_head, row_M, rows, q_row, D, WIDTH)
    prefix_start, prefix_end, low, high = load_limits(limits_ptr + batch * 4 * rows, row_M, rows)
    plan_ptr, visits, first, count, second = plan_of(visits_ptr, batch, tile, longest, LISTED)

    k_ptr += batch * k_batch + key_head * k_head
    v_ptr += batch * v_batch + key_head * v_head
    highest = tl.full((TILE_M,), HIDDEN, EXACT)
    total = tl.zeros((TILE_M,), EXACT)
    out = tl.zeros((TILE_M, WIDTH), EXACT)
    for visit in range(0, visits):
        key_tile = visited_tile(plan_ptr, visit, first, count, second, LISTED)
        key_N = key_tile * TILE_N - keys_before + tl.arange(0, TILE_N)
        k = load_tile(k_ptr, key_N, keys, k_row, D, WIDTH)
        scores = tl.dot(q, tl.trans(k), out_dtype=EXACT, input_precision="ieee") * (scale * LOG2_E)
        seen = visible(prefix_start, prefix_end, low, high, key_N, keys)
        scores = tl.where(seen, scores, HIDDEN)
        new_highest = tl.maximum(highest, tl.max(scores, 1))
        # A row that has seen nothing yet has HIDDEN for its highest score: its weights must not become 1.
        weights = tl.where(seen, tl.exp2(scores - new_highest[:, None]), 0.0)
        shrink = tl.exp2(highest - new_highest)
        total = total * shrink + tl.sum(weights, 1)
        v = load_tile(v_ptr, key_N, keys, v_row, D, WIDTH)
        out = out * shrink[:, None] + tl.dot(weights.to(v.dtype), v, out_dtype=EXACT, input_precision="ieee")
        highest = new_highest
    total = tl.where(total == 0.0, 1.0, total)  # of rows that do not exist, which are not stored
    out = out / total[:, None]
    store_tile(out_ptr + batch * out_batch + head * out_head, row_M, rows, out_row, out, D, WIDTH)
    lse_ptr += batch_and_head.to(tl.int64) * rows
    tl.store(lse_ptr + row_M, highest + tl.log2(total), mask=exist(row_M, rows))


def forward(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, plan: Plan, scale: float, launch: Launch
) -> tuple[Tensor, Tensor]:
    """Outputs in the inputs' dtype, and log-sums in `launch.exact`."""
    (batch, heads, rows, width), (_, key_heads, keys, _) = q_BHMD.shape, k_BGND.shape
    out_BHMD = q_BHMD.new_empty(q_BHMD.shape)
    lse_BHM = q_BHMD.new_empty((batch, heads, rows), dtype=launch.exact)
    forward_kernel[(plan.tiles, batch * heads)](
        q_BHMD, k_BGND, v_BGND, out_BHMD, lse_BHM, plan.limits_B4M, plan.visits,
        *q_BHMD.stride()[:3], *k_BGND.stride()[:3], *v_BGND.stride()[:3], *out_BHMD.stride()[:3],
        scale, rows, keys, heads, heads // key_heads, *plan.margins, plan.longest,
        **launch.constants(width), LISTED=plan.listed,
    )  # fmt: skip
    return out_BHMD, lse_BHM
