"""Queries and keys made ready for attention: scaled to one length per head, then turned by their positions.

    qk_BNHD = qk_rope(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)

QK-norm (Henry et al., arXiv 2010.04245; Dehghani et al., arXiv 2302.05442) with one gain per head, and rotary
positions (Su et al., arXiv 2104.09864) whose angles come from the caller, in as many axes as it likes. On CUDA
one kernel of ours does both, forward and backward, and reads and writes each number once; elsewhere PyTorch does.
"""

import torch
from torch import Tensor

# B sequences, N rows, H heads (of queries and keys side by side), D channels of a head, P = D / 2 pairs

SHORTEST = 1e-6
"""Vectors below this length are too close to zero to be scaled up."""


def qk_rope(qk_BNHD: Tensor, gain_H: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor, *, impl: str = "auto") -> Tensor:
    """Scale every head to a root mean square of its gain, then turn channel pair (i, i + D/2) by its angle.

    Args:
        qk_BNHD: heads of queries and keys; any strides, D even.
        gain_H: one number per head.
        cos_BN1D: cosine of the angle of each channel's pair; B may be 1. Where angles want gradients, PyTorch runs.
        sin_BN1D: sine of the same, negative for the first channel of a pair.
        impl: "auto", "triton" or "torch".

    Returns:
        The same shape, in the dtype of qk_BNHD, contiguous where a kernel made it.

    Raises:
        ValueError: `impl` is unknown or cannot run here; shapes that do not fit together.
    """
    batch, rows, heads, width = qk_BNHD.shape
    if width % 2 or gain_H.shape != (heads,):
        found = f"qk has {heads} heads of width {width}, gain is of shape {tuple(gain_H.shape)}"
        raise ValueError(f"{found}: give one gain per head, and an even width")
    if cos_BN1D.shape != sin_BN1D.shape or cos_BN1D.shape not in {(b, rows, 1, width) for b in (1, batch)}:
        found = f"cos, sin are of shape {tuple(cos_BN1D.shape)}, {tuple(sin_BN1D.shape)}"
        raise ValueError(f"{found}: give both as ({batch} or 1, {rows}, 1, {width})")
    if impl not in ("auto", "triton", "torch"):
        raise ValueError(f"impl is {impl!r}; choose auto, triton, torch")
    if impl == "triton" or (impl == "auto" and qk_BNHD.device.type == "cuda"):
        why_not = _why_not_triton(qk_BNHD, cos_BN1D, sin_BN1D)
        if not why_not:
            from videogpt_kernels.triton_qk_rope import triton_qk_rope

            return triton_qk_rope(qk_BNHD, gain_H, cos_BN1D, sin_BN1D)
        if impl == "triton":
            raise ValueError(f"impl is 'triton', which cannot run here: {why_not}; choose auto")
    return _turn(_scale(qk_BNHD, gain_H), cos_BN1D, sin_BN1D).to(qk_BNHD.dtype)


def _why_not_triton(x: Tensor, cos: Tensor, sin: Tensor) -> str | None:
    try:
        from videogpt_kernels.triton_attention import why_not_triton
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    if cos.requires_grad or sin.requires_grad:
        return "the kernel has no gradient of angles"
    if x.dtype == torch.float64:
        return "qk is torch.float64, and the kernel computes in float32"
    return why_not_triton(x.transpose(1, 2))


def _scale(x_BNHD: Tensor, gain_H: Tensor) -> Tensor:
    # Written out: forward and backward take two thirds of the time of nn.RMSNorm on a CPU.
    exact = torch.promote_types(x_BNHD.dtype, torch.float32)
    length_BNH1 = torch.linalg.vector_norm(x_BNHD, dim=-1, keepdim=True, dtype=exact)
    scale_BNH1 = x_BNHD.shape[-1] ** 0.5 / length_BNH1.clamp(min=SHORTEST) * gain_H[:, None]
    return x_BNHD * scale_BNH1.to(x_BNHD.dtype)


def _turn(x_BNHD: Tensor, cos_BN1D: Tensor, sin_BN1D: Tensor) -> Tensor:
    first, second = x_BNHD.chunk(2, dim=-1)
    return torch.addcmul(x_BNHD * cos_BN1D, torch.cat([second, first], dim=-1), sin_BN1D)
