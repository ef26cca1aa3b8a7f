"""Weights averaged over the steps of a training: they are validated and saved in place of the last ones.

average = averaged(module, decay=0.999)
average.update_parameters(module)                   # after every step
average.module                                      # the copy that has the averages
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(module: nn.Module, decay: float) -> AveragedModel:
    """A copy of the module whose weights follow the original's as an exponential moving average.

    The decay rises to `decay` as (1 + n) / (10 + n) with the number n of steps, so that the average of a short run is
    not that of its first steps.
    """

    def follow(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor | int) -> None:
        # A tensor, not a number: to read the count from a GPU would be to wait for it.
        steps = torch.as_tensor(steps, dtype=torch.float32, device=weights[0].device)
        share = 1 - ((1 + steps) / (10 + steps)).clamp(max=decay)
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, share.to(average.dtype))

    return AveragedModel(module, multi_avg_fn=torch.no_grad()(follow)).requires_grad_(False)
