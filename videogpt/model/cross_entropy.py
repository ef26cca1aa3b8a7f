"""Cross-entropy of many ids without their logits: a block of ids at a time, forward and backward.

    nats_R = cross_entropy(hidden_RD, weight_VD, targets_R)

The same as `F.cross_entropy(F.linear(hidden_RD, weight_VD).float(), targets_R, reduction="none")`, up to rounding, in
float32 and under autocast, but never with more than a block of logits in memory. Backward computes them again, which
costs one product more than the three of the plain way. No second derivatives.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# R rows, D width, V ids, W ids of a block

BLOCK_LOGITS = 2**22
"""Logits in memory at once: 16 MiB of float32."""
NARROWEST = 256
"""Ids of a block at least: narrower products waste a machine."""


class _BlockwiseCrossEntropy(torch.autograd.Function):
    """Keeps of the forward pass only the logarithm of each row's sum of exponentials."""

    @staticmethod
    def forward(ctx: Any, hidden_RD: Tensor, weight_VD: Tensor, targets_R: Tensor) -> Tensor:
        log_sum_R = hidden_RD.new_full((len(hidden_RD),), float("-inf"), dtype=torch.float32)
        of_target_R = torch.zeros_like(log_sum_R)
        for start, block_WD in _blocks(weight_VD, len(hidden_RD)):
            logits_RW = F.linear(hidden_RD, block_WD).float()
            inside_R, places_R = _places(targets_R, start, len(block_WD))
            of_target_R = torch.where(inside_R, logits_RW.gather(1, places_R[:, None])[:, 0], of_target_R)
            log_sum_R = torch.logaddexp(log_sum_R, logits_RW.logsumexp(dim=1))
        ctx.save_for_backward(hidden_RD, weight_VD, targets_R, log_sum_R)
        return log_sum_R - of_target_R

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_R: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_RD, weight_VD, targets_R, log_sum_R = ctx.saved_tensors
        hidden_grad_RD, weight_grad_VD = torch.zeros_like(hidden_RD, dtype=torch.float32), torch.empty_like(weight_VD)
        for start, block_WD in _blocks(weight_VD, len(hidden_RD)):
            logits_RW = F.linear(hidden_RD, block_WD).float()
            share_RW = logits_RW.sub_(log_sum_R[:, None]).exp_().mul_(grad_R[:, None])
            inside_R, places_R = _places(targets_R, start, len(block_WD))
            share_RW.scatter_add_(1, places_R[:, None], -(grad_R * inside_R)[:, None])
            share_RW = share_RW.to(hidden_RD.dtype)
            hidden_grad_RD += share_RW @ block_WD
            torch.mm(share_RW.T, hidden_RD, out=weight_grad_VD[start : start + len(block_WD)])
        return hidden_grad_RD.to(hidden_RD.dtype), weight_grad_VD, None


def cross_entropy(hidden_RD: Tensor, weight_VD: Tensor, targets_R: Tensor) -> Tensor:
    """Nats (R,) float32 of the targets, among V ids whose logits are products with the rows of the weight."""
    device = hidden_RD.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        hidden_RD, weight_VD = hidden_RD.to(dtype), weight_VD.to(dtype)
    with torch.autocast(device, enabled=False):
        nats_R = _BlockwiseCrossEntropy.apply(hidden_RD, weight_VD, targets_R)
    assert isinstance(nats_R, Tensor)
    return nats_R


def _blocks(weight_VD: Tensor, rows: int) -> Any:
    """Blocks of the weight, each with the number of its first id."""
    width = max(NARROWEST, BLOCK_LOGITS // max(rows, 1))
    return ((start, weight_VD[start : start + width]) for start in range(0, len(weight_VD), width))


def _places(targets_R: Tensor, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Whether each target lies in a block, and its place there, or one that does not matter."""
    places_R = targets_R - start
    return (places_R >= 0) & (places_R < width), places_R.clamp(0, width - 1)
