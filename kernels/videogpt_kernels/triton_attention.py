"""Attention by our Triton kernels, as operators that torch.compile, autograd and checkpointing know.

    out_BHMD = triton_attention(q_BHMD, k_BGND, v_BGND, visibility, query_start=0, scale=0.125)

Two operators, `videogpt_kernels::attention` and `videogpt_kernels::attention_backward`, take plain tensors: the
limits of every row and the tiles to visit, planned once per visibility and shared by all layers. Runs on CUDA
and ROCm, and on a CPU under TRITON_INTERPRET=1, where bfloat16 arithmetic is not to be trusted.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from videogpt_kernels import backward, forward
from videogpt_kernels.launches import WIDTHS, Launches, architecture_of, launches_for
from videogpt_kernels.tiles import key_visits, query_visits, row_limits
from videogpt_kernels.visibility import Visibility

# B batch, H query heads, G key heads, M query rows, N key rows, D head dimension, T and S tiles of rows of each

INTERPRETED = triton.knobs.runtime.interpret
"""Whether the kernels were imported under TRITON_INTERPRET=1."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

OLDEST = (8, 0)


class Plan(NamedTuple):
    """Who sees whom, for the rows of one call: row limits, and the tiles that each kernel visits."""

    limits_B4M: Tensor
    forward_BT4: Tensor
    dq_BT4: Tensor
    dkv_BS2: Tensor


def why_not_triton(q_BHMD: Tensor) -> str | None:
    """Why these kernels cannot run for such queries, or None when they can."""
    device = q_BHMD.device.type
    if device != "cuda" and not (device == "cpu" and INTERPRETED):
        return f"the device is {device}"
    if device == "cuda" and torch.cuda.get_device_capability(q_BHMD.device) < OLDEST:
        return "the GPU is older than compute capability 8.0"
    if q_BHMD.dtype not in DTYPES:
        return f"q is {q_BHMD.dtype}"
    if q_BHMD.shape[3] > WIDTHS[-1]:
        return f"q has heads of width {q_BHMD.shape[3]}, above {WIDTHS[-1]}"
    return None


def triton_attention(
    q_BHMD: Tensor, k_BGND: Tensor, v_BGND: Tensor, visibility: Visibility, *, query_start: int, scale: float
) -> Tensor:
    """As `videogpt_kernels.attention`."""
    launches = _launches(q_BHMD)
    key = (query_start, q_BHMD.shape[2], k_BGND.shape[2], launches)
    plan = visibility.once("triton", key, lambda: _plan(visibility, *key))
    q_BHMD, k_BGND, v_BGND = (_channels_side_by_side(x) for x in (q_BHMD, k_BGND, v_BGND))
    out_BHMD, _ = _attention(q_BHMD, k_BGND, v_BGND, *plan, scale)
    return out_BHMD


def _plan(visibility: Visibility, query_start: int, num_queries: int, num_keys: int, launches: Launches) -> Plan:
    limits_B4M = row_limits(visibility, query_start, num_queries)
    dkv = launches.backward.dkv.tile
    return Plan(
        limits_B4M,
        key_visits(limits_B4M, num_keys, launches.forward.tile),
        key_visits(limits_B4M, num_keys, launches.backward.dq.tile),
        query_visits(key_visits(limits_B4M, num_keys, dkv), num_keys, dkv),
    )


def _launches(q_BHMD: Tensor) -> Launches:
    return launches_for(architecture_of(q_BHMD.device), q_BHMD.shape[3], q_BHMD.dtype)


def _channels_side_by_side(x: Tensor) -> Tensor:
    """The same numbers with a stride of 1 along the last axis, which the kernels count on."""
    return x if x.stride(-1) == 1 else x.contiguous()


@torch.library.custom_op("videogpt_kernels::attention", mutates_args=())
def _attention(
    q_BHMD: Tensor,
    k_BGND: Tensor,
    v_BGND: Tensor,
    limits_B4M: Tensor,
    forward_BT4: Tensor,
    dq_BT4: Tensor,
    dkv_BS2: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Outputs, and base-2 log-sums of the scores' exponentials (B, H, M). The last two plans are for the gradient."""
    return forward.forward(q_BHMD, k_BGND, v_BGND, limits_B4M, forward_BT4, scale, _launches(q_BHMD).forward)


@_attention.register_fake
def _(q_BHMD, k_BGND, v_BGND, limits_B4M, forward_BT4, dq_BT4, dkv_BS2, scale):
    return q_BHMD.new_empty(q_BHMD.shape), q_BHMD.new_empty(q_BHMD.shape[:3], dtype=_exact(q_BHMD))


@torch.library.custom_op("videogpt_kernels::attention_backward", mutates_args=())
def _attention_backward(
    dout_BHMD: Tensor,
    q_BHMD: Tensor,
    k_BGND: Tensor,
    v_BGND: Tensor,
    out_BHMD: Tensor,
    lse_BHM: Tensor,
    limits_B4M: Tensor,
    dq_BT4: Tensor,
    dkv_BS2: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    return backward.backward(
        q_BHMD,
        k_BGND,
        v_BGND,
        out_BHMD,
        lse_BHM,
        _channels_side_by_side(dout_BHMD),
        limits_B4M,
        dq_BT4,
        dkv_BS2,
        scale,
        _launches(q_BHMD).backward,
    )


@_attention_backward.register_fake
def _(dout_BHMD, q_BHMD, k_BGND, v_BGND, out_BHMD, lse_BHM, limits_B4M, dq_BT4, dkv_BS2, scale):
    return tuple(x.new_empty(x.shape) for x in (q_BHMD, k_BGND, v_BGND))


def _keep(ctx, inputs, output) -> None:
    q_BHMD, k_BGND, v_BGND, limits_B4M, _, dq_BT4, dkv_BS2, ctx.scale = inputs
    ctx.save_for_backward(q_BHMD, k_BGND, v_BGND, *output, limits_B4M, dq_BT4, dkv_BS2)
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx, dout_BHMD: Tensor, _: Tensor):
    return *_attention_backward(dout_BHMD, *ctx.saved_tensors, ctx.scale), None, None, None, None, None


_attention.register_autograd(_gradients, setup_context=_keep)


def _exact(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
