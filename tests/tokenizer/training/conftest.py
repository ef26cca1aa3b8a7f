"""Smooth clips that differ."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F


@pytest.fixture(scope="session")
def waves() -> Callable[[int], torch.Tensor]:
    """`waves(index)`: one of them, (3, 5, 32, 32)."""

    def make(index: int) -> torch.Tensor:
        coarse = torch.rand(1, 3, 2, 3, 3, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return F.interpolate(coarse, size=(5, 32, 32), mode="trilinear")[0]

    return make
