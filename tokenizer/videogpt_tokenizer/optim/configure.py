"""Optimiser and learning-rate schedule of a training.

optimizer, scheduler = configure(module, OptimizerConfig(), total_steps)
"""

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from videogpt_tokenizer.optim.muon_adamw import MuonAdamW

OptimizerKind = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW, or Muon for the matrices of the layers, with warm-up and cosine decay."""

    kind: OptimizerKind = "adamw"
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
        if self.kind not in get_args(OptimizerKind):
            raise ValueError(f"kind is {self.kind!r}; choose {', '.join(get_args(OptimizerKind))}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0, for example 0.002")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay is {self.weight_decay}; it must be 0 or more, for example 0.1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}; it must be 0 or more, for example 100")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must lie in [0, 1), for example 0.999")
        object.__setattr__(self, "betas", tuple(self.betas))
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}; it must be two numbers in [0, 1), for example (0.9, 0.95)")
        if not 0 <= self.final_share <= 1:
            raise ValueError(f"final_share is {self.final_share}; it must lie in [0, 1], for example 0.05")


def learning_rate_share(step: int, config: OptimizerConfig, total_steps: float) -> float:
    """Learning rate at a step as a share of the peak: linear warm-up, then half a cosine to `final_share`.

    Where the number of steps is infinite it stays at the peak.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps))
    return config.final_share + (1 - config.final_share) * 0.5 * (1 + math.cos(math.pi * progress))


def configure(
    module: nn.Module,
    config: OptimizerConfig,
    total_steps: float,
    outer: Collection[Tensor] = (),
    groups: Sequence[dict[str, Any]] = (),
) -> tuple[Optimizer, LambdaLR]:
    """Optimiser and schedule of the parameters that want a gradient; vectors (norms, biases) are not decayed.

    Args:
        outer: matrices that are no layer's, such as embedding and head: AdamW steps them in any case.
        total_steps: steps to the end of the schedule; infinite, or below 0, where nobody knows them.
        groups: parameters beside the module's, with settings of their own for AdamW; the schedule is the same.
    """
    if not 0 <= total_steps < math.inf:
        total_steps = math.inf
        warnings.warn(
            "the training has no last step (trainer.max_steps is -1), so the learning rate stays at its peak after "
            "warm-up: set trainer.max_steps or trainer.max_epochs for one that falls",
            stacklevel=2,
        )
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
        optimizer: Optimizer = MuonAdamW(
            by_muon, adamw, lr=config.learning_rate, weight_decay=config.weight_decay, betas=config.betas
        )
    else:
        optimizer = AdamW(adamw, lr=config.learning_rate, betas=config.betas, fused=True)
        # Its kernel could take scaled gradients of float16; but clipping wants them unscaled, which is the scaler's
        # work where this is False. Lightning refuses to clip where it is True, even bfloat16, which is never scaled.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer, LambdaLR(optimizer, lambda step: learning_rate_share(step, config, total_steps))
