"""Queries and keys made ready for attention: scaled to one length per head, then turned by their positions.

    qk_BNHD = qk_rope(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)

QK-norm (Henry et al., arXiv 2010.04245; Dehghani et al., arXiv 2302.05442) with one gain per head, and rotary
positions (Su et al., arXiv 2104.09864) whose angles come from the caller, in as many axes as it likes. On CUDA
one kernel of ours does both, forward and backward, and reads and writes each number once; elsewhere PyTorch does.
"""

from torch import Tensor

from videogpt_kernels.dispatch import takes_triton, why_not_float32_triton
from videogpt_kernels.reference import reference_qk_rope

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
