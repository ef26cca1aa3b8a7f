"""Whether the kernels run or PyTorch does: asked by name, or chosen by what the tensors are.

    if takes_triton(impl, "cuda", lambda: why_not_triton(q_BHMD)):
        ...

Importing this needs no Triton, and what cannot be imported is a reason like others. Refuses a kernel that was asked
for by name and cannot run, with the reason.
"""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from videogpt_kernels.visibility import Visibility

# B batch, H heads, M rows, D head dimension


def why_not_triton(x_BHMD: Tensor, visibility: Visibility | None = None) -> str | None:
    """Why the kernels cannot run for such tensors, or None when they can."""
    try:
        from videogpt_kernels.triton_attention import why_not_kernels
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    return why_not_kernels(x_BHMD, visibility)


def why_not_float32_triton(x_BHMD: Tensor) -> str | None:
    """The same of kernels that compute in float32 whatever they are given."""
    if x_BHMD.element_size() > 4:
        return f"the tensors are {x_BHMD.dtype}, and the kernel computes in float32"
    return why_not_triton(x_BHMD)


def takes_triton(impl: str, device_type: str, why_not: Callable[[], str | None]) -> bool:
    """Whether `impl`, "auto", "triton" or "torch", means the kernels: "auto" does on CUDA, where they can run."""
    if impl not in ("auto", "triton", "torch"):
        raise ValueError(f"impl is {impl!r}; choose auto, triton, torch")
    if impl == "torch" or (impl == "auto" and device_type != "cuda"):
        return False
    reason = why_not()
    if reason and impl == "triton":
        raise ValueError(f"impl is 'triton', which cannot run here: {reason}; choose auto")
    return not reason


def wants_backward(*tensors: Tensor) -> bool:
    """Whether eager autograd will ask for gradients, so that a backward pass written by hand saves time.

    A compiler fuses the plain operations by itself, and torch.func differentiates them as often as it is asked to.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def by_hand(backward: Callable[..., Any]) -> Callable[..., Any]:
    """For the backward pass of an autograd.Function: refuses gradients of gradients, and knows its dtypes itself."""

    @functools.wraps(backward)
    def without_autocast(ctx: Any, grad: Tensor) -> Any:
        kind = grad.device.type
        autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if autocast else nullcontext():
            return backward(ctx, grad)

    return once_differentiable(without_autocast)
