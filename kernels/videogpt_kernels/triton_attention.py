"""Attention by our Triton kernels, as operators that torch.compile, autograd and checkpointing know.

    out_BHMD = triton_attention(q_BHMD, k_BGND, v_BGND, visibility, query_start=0, scale=0.125)

Two operators, `videogpt_kernels::attention` and `videogpt_kernels::attention_backward`, take plain tensors: the
limits of every row and the tiles to visit, planned once per visibility and shared by all layers. Runs on CUDA
and ROCm, and on a CPU under TRITON_INTERPRET=1, where bfloat16 arithmetic is not to be trusted.
"""

from typing import Any

import torch
from torch import Tensor
from triton import knobs

from videogpt_kernels import backward, forward
from videogpt_kernels.launches import WIDTHS, Launches, architecture_of, channels_side_by_side, launches_for
from videogpt_kernels.tiles import Plan, plan_tiles, why_no_plan
from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, M query rows, N key rows, D head dimension, T and S tiles of rows of each

INTERPRETED = knobs.runtime.interpret
"""Whether the kernels were imported under TRITON_INTERPRET=1."""
_ATTENTION_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WIDEST_FLOAT64 = 128
"""Tiles of wider ones need more shared memory than some GPUs have."""
OLDEST = (8, 0)
MOST_HEADS = 65_535
"""The second axis of a CUDA grid."""


def why_not_kernels(q_BHMD: Tensor, visibility: Visibility | None = None) -> str | None:
    """Why these kernels cannot run for such queries, or None when they can."""
    device = q_BHMD.device.type
    if device != "cuda" and not (device == "cpu" and INTERPRETED):
        return f"the device is {device}"
    if device == "cuda" and torch.cuda.get_device_capability(q_BHMD.device) < OLDEST:
        return "the GPU is older than compute capability 8.0"
    if q_BHMD.dtype not in _ATTENTION_DTYPES:
        return f"q is {q_BHMD.dtype}"
    if q_BHMD.shape[3] > WIDTHS[-1]:
        return f"q has heads of width {q_BHMD.shape[3]}, above {WIDTHS[-1]}"
    if q_BHMD.dtype == torch.float64 and q_BHMD.shape[3] > WIDEST_FLOAT64:
        return f"q is torch.float64 with heads of width {q_BHMD.shape[3]}, above {WIDEST_FLOAT64}"
    if q_BHMD.shape[0] * q_BHMD.shape[1] > MOST_HEADS:
        return f"q has {q_BHMD.shape[0]} x {q_BHMD.shape[1]} heads, above {MOST_HEADS} in all"
    return None if visibility is None else why_no_plan(visibility)


def triton_attention(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, visibility: Visibility, *, query_start: int, scale: float
) -> Tensor:
    """As `videogpt_kernels.attention`."""
    launches = _launches(q_BHMD, 0 if visibility.tile_window is None else visibility.tile_window.tile_tokens)
    key = (query_start, q_BHMD.shape[2], k_BGND.shape[2], launches)
    plans = visibility.once("triton", key, lambda: _plan(visibility, *key))
    q_BHMD, k_BGND, v_BGND = (channels_side_by_side(x) for x in (q_BHMD, k_BGND, v_BGND))
    out_BHMD, _ = _attention(q_BHMD, k_BGND, v_BGND, *plans, scale)
    return out_BHMD


def _plan(
    visibility: Visibility, query_start: int, num_queries: int, num_keys: int, launches: Launches
) -> tuple[Any, ...]:
    """Who sees whom as the operators take it: limits, visits of the three kernels, margins, rows of a window's tile."""
    rows = (visibility, query_start, num_queries, num_keys)
    limits_B4M, visits, margins = plan_tiles(*rows, launches.forward.tile)
    dq_visits = plan_tiles(*rows, launches.dq.tile).visits
    dkv_visits = plan_tiles(*rows, launches.dkv.tile, reverse=True).visits
    tile_tokens = 0 if visibility.tile_window is None else visibility.tile_window.tile_tokens
    return limits_B4M, visits, dq_visits, dkv_visits, list(margins), tile_tokens


def _launches(q_BHMD: Tensor, tile_tokens: int) -> Launches:
    return launches_for(architecture_of(q_BHMD.device), q_BHMD.shape[3], q_BHMD.dtype, tile_tokens)


@torch.library.custom_op("videogpt_kernels::attention", mutates_args=())
def _attention(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor,
    limits_B4M: Tensor, forward_visits: Tensor, dq_visits: Tensor, dkv_visits: Tensor,
    margins: list[int], tile_tokens: int, scale: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Outputs, and base-2 log-sums of the scores' exponentials (B, H, M). The gradient needs `dq_` and `dkv_visits`."""
    plan = Plan(limits_B4M, forward_visits, (margins[0], margins[1]))
    with torch.cuda.device_of(q_BHMD):  # Triton launches on the current device
        return forward.forward(q_BHMD, k_BGND, v_BGND, plan, scale, _launches(q_BHMD, tile_tokens).forward)


@_attention.register_fake
def _(q_BHMD, k_BGND, v_BGND, limits_B4M, forward_visits, dq_visits, dkv_visits, margins, tile_tokens, scale):
    exact = torch.promote_types(q_BHMD.dtype, torch.float32)
    return q_BHMD.new_empty(q_BHMD.shape), q_BHMD.new_empty(q_BHMD.shape[:3], dtype=exact)


@torch.library.custom_op("videogpt_kernels::attention_backward", mutates_args=())
def _attention_backward(
    dout_BHMD: Tensor, q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, out_BHMD: Tensor, lse_BHM: Tensor,
    limits_B4M: Tensor, dq_visits: Tensor, dkv_visits: Tensor,
    margins: list[int], tile_tokens: int, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v."""
    dq_plan, dkv_plan = (Plan(limits_B4M, visits, (margins[0], margins[1])) for visits in (dq_visits, dkv_visits))
    known = (q_BHMD, k_BGND, v_BGND, out_BHMD, lse_BHM, channels_side_by_side(dout_BHMD))
    with torch.cuda.device_of(q_BHMD):
        return backward.backward(*known, dq_plan, dkv_plan, scale, _launches(q_BHMD, tile_tokens))


@_attention_backward.register_fake
def _(dout, q_BHMD, k_BGND, v_BGND, out, lse, limits, dq_visits, dkv_visits, margins, tile_tokens, scale):
    return tuple(x.new_empty(x.shape) for x in (q_BHMD, k_BGND, v_BGND))


def _keep_attention(ctx, inputs, output) -> None:
    q_BHMD, k_BGND, v_BGND, limits_B4M, _, dq_visits, dkv_visits, *ctx.settings = inputs
    ctx.save_for_backward(q_BHMD, k_BGND, v_BGND, *output, limits_B4M, dq_visits, dkv_visits)
    ctx.mark_non_differentiable(output[1])


def _attention_gradients(ctx, dout_BHMD: Tensor, _: Tensor):
    return *_attention_backward(dout_BHMD, *ctx.saved_tensors, *ctx.settings), *[None] * 7


_attention.register_autograd(_attention_gradients, setup_context=_keep_attention)
