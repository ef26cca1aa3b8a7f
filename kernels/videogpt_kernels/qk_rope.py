"""Queries and keys made ready for attention: scaled to one length per head, then turned by their positions.

    qk_BNHD = qk_rope(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)

QK-norm (Henry et al., arXiv 2010.04245; Dehghani et al., arXiv 2302.05442) with one gain per head, and rotary
positions (Su et al., arXiv 2104.09864) whose angles come from the caller, in as many axes as it likes. On CUDA
one kernel of ours does both, forward and backward, and reads and writes each number once; elsewhere PyTorch does, with
a backward pass written by hand that takes half of the time of autograd's. No gradient of the gradient.
"""

from typing import Any

import torch
from torch import Tensor

from videogpt_kernels.dispatch import by_hand, takes_triton, wants_backward, why_not_float32_triton
from videogpt_kernels.reference import SHORTEST, reference_qk_rope

# B sequences, N rows, H heads (of queries and keys side by side), D channels of a head


def qk_rope(qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor, *, impl: str = "auto") -> Tensor:
    """Scale every head to a root mean square of its gain, then turn channel pair (i, i + D/2) by its angle.

    The result has the shape and dtype of qk_BNHD, and is contiguous where a kernel made it.

    Args:
        qk_BNHD: heads of queries and keys; any strides, D even.
        gain_H: one number per head.
        cos_BN1D: cosine of the angle of each channel's pair; B may be 1. Where angles want gradients, PyTorch runs.
        sin_BN1D: sine of the same, negative for the first channel of a pair.
        impl: "auto", "triton" or "torch".
    """
    check_turns(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)

    def why_not() -> str | None:
        if cos_BN1D.requires_grad or sin_BN1D.requires_grad:
            return "the kernel has no gradient of angles"
        return why_not_float32_triton(qk_BNHD.transpose(1, 2))

    if takes_triton(impl, qk_BNHD.device.type, why_not):
        from videogpt_kernels.triton_qk_rope import triton_qk_rope

        return triton_qk_rope(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)
    if wants_backward(qk_BNHD, gain_H) and not (cos_BN1D.requires_grad or sin_BN1D.requires_grad):
        return _QkRope.apply(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)
    return reference_qk_rope(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)


def check_turns(qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> None:
    """Refuse gains and angles that do not fit heads of queries and keys: ValueError, naming them."""
    batch, rows, heads, width = qk_BNHD.shape
    if width % 2 or gain_H.shape != (heads,):
        found = f"qk has {heads} heads of width {width}, gain is of shape {tuple(gain_H.shape)}"
        raise ValueError(f"{found}: give one gain per head, and an even width")
    if cos_BN1D.shape != sin_BN1D.shape or cos_BN1D.shape not in {(b, rows, 1, width) for b in (1, batch)}:
        found = f"cos, sin are of shape {tuple(cos_BN1D.shape)}, {tuple(sin_BN1D.shape)}"
        raise ValueError(f"{found}: give both as ({batch} or 1, {rows}, 1, {width})")


class _QkRope(torch.autograd.Function):
    """The reference, with its gradient: turned back, less what lies along the head, scaled."""

    @staticmethod
    def forward(ctx: Any, qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> Tensor:
        exact = torch.promote_types(qk_BNHD.dtype, torch.float32)
        length_BNH1 = torch.linalg.vector_norm(qk_BNHD, dim=-1, keepdim=True, dtype=exact)
        unit_BNH1 = qk_BNHD.shape[-1] ** 0.5 / length_BNH1.clamp(min=SHORTEST)
        ctx.save_for_backward(qk_BNHD, length_BNH1, unit_BNH1, gain_H, cos_BN1D, sin_BN1D)
        scaled_BNHD = qk_BNHD * (unit_BNH1 * gain_H[:, None]).to(qk_BNHD.dtype)
        return _turned(scaled_BNHD, cos_BN1D, sin_BN1D).to(qk_BNHD.dtype)

    @staticmethod
    @by_hand
    def backward(ctx: Any, grad_BNHD: Tensor) -> tuple[Tensor, Tensor, None, None]:
        qk_BNHD, length_BNH1, unit_BNH1, gain_H, cos_BN1D, sin_BN1D = ctx.saved_tensors
        back_BNHD = _turned(grad_BNHD, cos_BN1D, -sin_BN1D).to(qk_BNHD.dtype)
        dot_BNH1 = torch.linalg.vecdot(back_BNHD, qk_BNHD).unsqueeze(-1) * unit_BNH1
        along_BNH1 = dot_BNH1 * unit_BNH1 * (length_BNH1 >= SHORTEST) / -qk_BNHD.shape[-1]
        back_BNHD.addcmul_(qk_BNHD, along_BNH1.to(qk_BNHD.dtype)).mul_((unit_BNH1 * gain_H[:, None]).to(qk_BNHD.dtype))
        return back_BNHD, dot_BNH1.sum((0, 1, 3)).to(gain_H.dtype), None, None


def _turned(x_BNHD: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> Tensor:
    """Each pair of channels by its angle; -sine turns back."""
    half, turned_BNHD = x_BNHD.shape[-1] // 2, x_BNHD * cos_BN1D
    turned_BNHD[..., :half].addcmul_(x_BNHD[..., half:], sin_BN1D[..., :half])
    turned_BNHD[..., half:].addcmul_(x_BNHD[..., :half], sin_BN1D[..., half:])
    return turned_BNHD
