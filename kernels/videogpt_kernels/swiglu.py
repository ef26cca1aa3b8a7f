"""SwiGLU: one half of the channels gates the other (Shazeer, arXiv 2002.05202).

    out = swiglu(gate_and_value)

Eager autograd would write both halves' gradients apart and then put them together; here they are written in place. No
gradient of the gradient.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_kernels.dispatch import by_hand, wants_backward
from videogpt_kernels.reference import reference_swiglu

# D channels of a half, C = 2 D: first the gates, then what they gate


def swiglu(x_C: Tensor) -> Tensor:
    """silu(first half) * second half, over the last axis, whose length is even."""
    if x_C.shape[-1] % 2:
        raise ValueError(f"x has {x_C.shape[-1]} channels: give an even number, gates and what they gate")
    if wants_backward(x_C):
        return _SwiGLU.apply(x_C)
    return reference_swiglu(x_C)


class _SwiGLU(torch.autograd.Function):
    """Keeps what it was given, and takes silu again."""

    @staticmethod
    def forward(ctx: Any, x_C: Tensor) -> Tensor:
        ctx.save_for_backward(x_C)
        gate_D, value_D = x_C.chunk(2, dim=-1)
        return F.silu(gate_D).mul_(value_D)

    @staticmethod
    @by_hand
    def backward(ctx: Any, grad_D: Tensor) -> Tensor:
        (x_C,) = ctx.saved_tensors
        gate_D, value_D = x_C.chunk(2, dim=-1)
        grad_C = torch.empty_like(x_C)
        of_gate_D, of_value_D = grad_C.chunk(2, dim=-1)
        torch.mul(F.silu(gate_D), grad_D, out=of_value_D)
        torch.mul(value_D, grad_D, out=of_gate_D)
        torch.ops.aten.silu_backward.grad_input(of_gate_D, gate_D, grad_input=of_gate_D)
        return grad_C
