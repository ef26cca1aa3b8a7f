"""Optimiser, learning-rate schedule, weight averaging and precision, shared by every training here.

optimizer, scheduler = configure(module, OptimizerConfig(), total_steps)
with fast_autocast(device): ...
"""

import functools
import math
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from videogpt_tokenizer.optim.muon_adamw import MuonAdamW


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, or Muon for the matrices of the layers, with warm-up and cosine decay."""

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: matrices of the layers by Muon, the rest by AdamW. Fewer steps, each a little slower."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay, on matrices and convolution kernels only."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of Adam's first and second moments."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from zero."""
    final_share: float = 0.05
    """Learning rate at the last step, as a share of the peak."""
    ema_decay: float = 0.999
    """Decay per step of the averaged weights, which are the ones validated and saved; lower in the first steps."""

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0, for example 0.002")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be 0 or more, for example 0.1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; it must be 0 or more, for example 100")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must lie in [0, 1), for example 0.999")
        object.__setattr__(self, "betas", tuple(self.betas))


class Optimization(NamedTuple):
    """What a training needs to step."""

    optimizer: torch.optim.Optimizer
    scheduler: LambdaLR


def learning_rate_share(step: int, config: OptimizerConfig, total_steps: int) -> float:
    """Learning rate at a step as a share of the peak: linear warm-up, then half a cosine to `final_share`."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def configure(
    module: nn.Module,
    config: OptimizerConfig,
    total_steps: int,
    outer: Collection[Tensor] = (),
    groups: Sequence[dict[str, Any]] = (),
) -> Optimization:
    """Optimiser and schedule of the parameters that want a gradient; vectors (norms, biases) are not decayed.

    Args:
        outer: matrices that are no layer's, such as embedding and head: AdamW steps them in any case.
        groups: parameters beside the module's, with settings of their own for AdamW; the schedule is the same.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    outside = {id(parameter) for parameter in outer}
    by_muon = [p for p in parameters if config.kind == "muon" and p.ndim == 2 and id(p) not in outside]
    others = [p for p in parameters if all(p is not matrix for matrix in by_muon)]
    adamw = [
        {"params": [p for p in others if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        *({"weight_decay": 0.0, **group} for group in groups),
    ]
    if config.kind == "muon":
        optimizer: torch.optim.Optimizer = MuonAdamW(
            by_muon, adamw, lr=config.learning_rate, weight_decay=config.weight_decay, betas=config.betas
        )
    else:
        optimizer = torch.optim.AdamW(adamw, lr=config.learning_rate, betas=config.betas, fused=True)
    return Optimization(optimizer, LambdaLR(optimizer, lambda step: learning_rate_share(step, config, total_steps)))


def averaged(module: nn.Module, config: OptimizerConfig) -> AveragedModel:
    """A copy of the module whose weights follow the original's as an exponential moving average.

    The decay rises to `ema_decay` as (1 + n) / (10 + n) with the number n of steps, so that the average of a short run
    is not that of its first steps.
    """

    def follow(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor | int) -> None:
        # A tensor, not a number: to read the count from a GPU would be to wait for it.
        steps = torch.as_tensor(steps, dtype=torch.float32, device=weights[0].device)
        share = 1 - ((1 + steps) / (10 + steps)).clamp(max=config.ema_decay)
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, share.to(average.dtype))

    return AveragedModel(module, multi_avg_fn=torch.no_grad()(follow)).requires_grad_(False)


def fast_autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 autocast where this machine multiplies faster in it, else a context that changes nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bfloat16_is_fast(device.type))


@functools.cache
def bfloat16_is_fast(device_type: str) -> bool:
    """Whether bfloat16 matrix products are worth it: asked of the driver on a GPU, timed once on a CPU."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return False
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        timings = []
        for _ in range(5):
            start = time.perf_counter()
            torch.matmul(left, right)
            timings.append(time.perf_counter() - start)
        seconds[dtype] = min(timings)
    return seconds[torch.bfloat16] < 0.7 * seconds[torch.float32]
