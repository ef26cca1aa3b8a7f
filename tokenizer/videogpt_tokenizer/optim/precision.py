"""Numbers of 16 bits where they are faster, or where the user wants them.

with fast_autocast(device):
    loss = module(batch)
check_precision(trainer.precision)
"""

import functools
import timeit
from contextlib import AbstractContextManager, nullcontext

import torch

_MIXED = ("16", "16-mixed", "bf16", "bf16-mixed")


def check_precision(precision: object) -> None:
    """ValueError unless a training can have this `trainer.precision`, in Lightning's words."""
    if str(precision) not in ("None", "32", "32-true", *_MIXED):
        raise ValueError(
            f"trainer.precision is {precision}, and weights are trained as they are saved, in float32: choose 32-true, "
            "which computes in bfloat16 where that is faster, or bf16-mixed or 16-mixed"
        )


def fast_autocast(device: torch.device) -> AbstractContextManager:
    """bfloat16 autocast where this machine multiplies faster in it, else a context that changes nothing.

    Where autocast is on already, with the type that the user has chosen, that stays.
    """
    if torch.is_autocast_enabled(device.type):
        return nullcontext()
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
