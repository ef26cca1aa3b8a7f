"""Numbers of 16 bits where they are faster.

with fast_autocast(device):
    loss = module(batch)
"""

import functools
import timeit
from contextlib import AbstractContextManager

import torch


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
        product = functools.partial(torch.matmul, *torch.ones(2, 512, 512, dtype=dtype))
        seconds[dtype] = min(timeit.repeat(product, number=1, repeat=5))
    return seconds[torch.bfloat16] < 0.7 * seconds[torch.float32]
