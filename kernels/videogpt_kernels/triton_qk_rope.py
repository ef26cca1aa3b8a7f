"""QK-norm and rotary positions in one Triton kernel, forward and backward: see `qk_rope`.

One program takes some rows of one head. Everything is computed in float32 and rounded once. The gradient of the
gains is summed per program, then over programs by torch, in a fixed order.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false
# What @triton.jit makes of a function, and what is inside, is not Python to a type checker.

import torch
import triton
import triton.language as tl
from torch import Tensor

from videogpt_kernels.launches import channels_side_by_side
from videogpt_kernels.reference import SHORTEST

# B sequences, N rows, H heads, D channels of a head, P = D / 2 pairs, T tiles of rows

TILE = 32
_WARPS_PER_TILE = 4


@triton.jit
def _load_pairs(base, row_N, rows, row_stride, PAIRS: tl.constexpr, WIDTH: tl.constexpr):
    """The first and the second channels of the pairs of some rows, (N, P) each, zero beyond `rows` and P."""
    pair = tl.arange(0, WIDTH)[None, :]
    place = base + row_N[:, None].to(tl.int64) * row_stride + pair
    inside = (row_N[:, None] < rows) & (pair < PAIRS)
    first = tl.load(place, mask=inside, other=0.0)
    second = tl.load(place + PAIRS, mask=inside, other=0.0)
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def _store_pairs(base, row_N, rows, row_stride, first, second, PAIRS: tl.constexpr, WIDTH: tl.constexpr):
    pair = tl.arange(0, WIDTH)[None, :]
    place = base + row_N[:, None].to(tl.int64) * row_stride + pair
    inside = (row_N[:, None] < rows) & (pair < PAIRS)
    tl.store(place, first.to(base.dtype.element_ty), mask=inside)
    tl.store(place + PAIRS, second.to(base.dtype.element_ty), mask=inside)


@triton.jit
def qk_rope_kernel(
    x_ptr, gain_ptr, cos_ptr, sin_ptr, y_ptr,
    x_batch, x_row, x_head, turn_batch, turn_row, y_batch, y_row, y_head, rows, heads, shortest,
    PAIRS: tl.constexpr, WIDTH: tl.constexpr, TILE_N: tl.constexpr,
):  # fmt: skip
    tile, batch_and_head = tl.program_id(0), tl.program_id(1)
    batch, head = (batch_and_head // heads).to(tl.int64), (batch_and_head % heads).to(tl.int64)
    row_N = tile * TILE_N + tl.arange(0, TILE_N)
    first, second = _load_pairs(x_ptr + batch * x_batch + head * x_head, row_N, rows, x_row, PAIRS, WIDTH)
    cos, _ = _load_pairs(cos_ptr + batch * turn_batch, row_N, rows, turn_row, PAIRS, WIDTH)
    _, sin = _load_pairs(sin_ptr + batch * turn_batch, row_N, rows, turn_row, PAIRS, WIDTH)
    length = tl.sqrt(tl.sum(first * first + second * second, 1))
    root = tl.sqrt(2.0 * PAIRS)
    scale = (root / tl.maximum(length, shortest) * tl.load(gain_ptr + head).to(tl.float32))[:, None]
    first, second = first * scale, second * scale
    turned_first, turned_second = first * cos - second * sin, second * cos + first * sin
    y_ptr += batch * y_batch + head * y_head
    _store_pairs(y_ptr, row_N, rows, y_row, turned_first, turned_second, PAIRS, WIDTH)


@triton.jit
def qk_rope_backward_kernel(
    x_ptr, gain_ptr, cos_ptr, sin_ptr, dy_ptr, dx_ptr, dgain_ptr,
    x_batch, x_row, x_head, turn_batch, turn_row, dy_batch, dy_row, dy_head, dx_batch, dx_row, dx_head,
    rows, heads, shortest,
    PAIRS: tl.constexpr, WIDTH: tl.constexpr, TILE_N: tl.constexpr,
):  # fmt: skip
    tile, batch_and_head = tl.program_id(0), tl.program_id(1)
    batch, head = (batch_and_head // heads).to(tl.int64), (batch_and_head % heads).to(tl.int64)
    row_N = tile * TILE_N + tl.arange(0, TILE_N)
    first, second = _load_pairs(x_ptr + batch * x_batch + head * x_head, row_N, rows, x_row, PAIRS, WIDTH)
    dy_ptr += batch * dy_batch + head * dy_head
    turned_first, turned_second = _load_pairs(dy_ptr, row_N, rows, dy_row, PAIRS, WIDTH)
    cos, _ = _load_pairs(cos_ptr + batch * turn_batch, row_N, rows, turn_row, PAIRS, WIDTH)
    _, sin = _load_pairs(sin_ptr + batch * turn_batch, row_N, rows, turn_row, PAIRS, WIDTH)
    dfirst, dsecond = turned_first * cos + turned_second * sin, turned_second * cos - turned_first * sin
    length = tl.sqrt(tl.sum(first * first + second * second, 1))
    root = tl.sqrt(2.0 * PAIRS)
    scale = root / tl.maximum(length, shortest)
    along = tl.sum(first * dfirst + second * dsecond, 1)  # of the gradient, in the direction of the row
    tl.store(dgain_ptr + tile * tl.num_programs(1) + batch_and_head, tl.sum(along * scale, 0))
    # Rows too short to be scaled to their length are scaled by a constant, which turns with nothing.
    inward = tl.where(length > shortest, along / (length * length), 0.0)[:, None]
    scale = (scale * tl.load(gain_ptr + head).to(tl.float32))[:, None]
    dx_ptr += batch * dx_batch + head * dx_head
    dfirst, dsecond = scale * (dfirst - first * inward), scale * (dsecond - second * inward)
    _store_pairs(dx_ptr, row_N, rows, dx_row, dfirst, dsecond, PAIRS, WIDTH)


def triton_qk_rope(qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> Tensor:
    """As `videogpt_kernels.qk_rope`."""
    return _qk_rope(channels_side_by_side(qk_BNHD), gain_H.contiguous(), cos_BN1D.contiguous(), sin_BN1D.contiguous())


@torch.library.custom_op("videogpt_kernels::qk_rope", mutates_args=())
def _qk_rope(qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> Tensor:
    batch, rows, heads, width = qk_BNHD.shape
    y_BNHD = qk_BNHD.new_empty(qk_BNHD.shape)
    with torch.cuda.device_of(qk_BNHD):  # Triton launches on the current device
        qk_rope_kernel[(-(-rows // TILE), batch * heads)](
            qk_BNHD, gain_H, cos_BN1D, sin_BN1D, y_BNHD,
            *qk_BNHD.stride()[:3], *_turn_strides(cos_BN1D), *y_BNHD.stride()[:3],
            rows, heads, SHORTEST, **qk_rope_constants(width),
        )  # fmt: skip
    return y_BNHD


@_qk_rope.register_fake
def _(qk_BNHD, gain_H, cos_BN1D, sin_BN1D):
    return qk_BNHD.new_empty(qk_BNHD.shape)


@torch.library.custom_op("videogpt_kernels::qk_rope_backward", mutates_args=())
def _qk_rope_backward(
    dy_BNHD: Tensor, qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of qk and gain."""
    batch, rows, heads, width = qk_BNHD.shape
    tiles, dy_BNHD = -(-rows // TILE), channels_side_by_side(dy_BNHD)
    dx_BNHD = qk_BNHD.new_empty(qk_BNHD.shape)
    dgain_TBH = qk_BNHD.new_empty((tiles, batch, heads), dtype=torch.float32)
    with torch.cuda.device_of(qk_BNHD):  # Triton launches on the current device
        qk_rope_backward_kernel[(tiles, batch * heads)](
            qk_BNHD, gain_H, cos_BN1D, sin_BN1D, dy_BNHD, dx_BNHD, dgain_TBH,
            *qk_BNHD.stride()[:3], *_turn_strides(cos_BN1D), *dy_BNHD.stride()[:3], *dx_BNHD.stride()[:3],
            rows, heads, SHORTEST, **qk_rope_constants(width),
        )  # fmt: skip
    return dx_BNHD, dgain_TBH.sum((0, 1)).to(gain_H.dtype)


@_qk_rope_backward.register_fake
def _(dy_BNHD, qk_BNHD, gain_H, cos_BN1D, sin_BN1D):
    return qk_BNHD.new_empty(qk_BNHD.shape), gain_H.new_empty(gain_H.shape)


def _keep_qk_rope(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _qk_rope_gradients(ctx, dy_BNHD: Tensor):
    return *_qk_rope_backward(dy_BNHD, *ctx.saved_tensors), None, None


_qk_rope.register_autograd(_qk_rope_gradients, setup_context=_keep_qk_rope)


def qk_rope_constants(width: int) -> dict[str, int]:
    """Keyword arguments of the kernels for heads of `width`."""
    pairs = width // 2
    return {"PAIRS": pairs, "WIDTH": 1 << (pairs - 1).bit_length(), "TILE_N": TILE, "num_warps": _WARPS_PER_TILE}


def _turn_strides(cos_BN1D: Tensor) -> tuple[int, int]:
    """Of a batch and of a row; a batch of 1 is read again for every sequence."""
    return (cos_BN1D.stride(0) if cos_BN1D.shape[0] > 1 else 0), cos_BN1D.stride(1)
