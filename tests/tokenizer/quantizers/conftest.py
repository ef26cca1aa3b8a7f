"""Latents to quantize."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def latents() -> Callable[..., torch.Tensor]:
    """`latents(dim, scale=1.5, seed=0)`: the same ones for the same seed, (2, 3, 4, 5, dim)."""

    def make(dim: int, scale: float = 1.5, seed: int = 0) -> torch.Tensor:
        return scale * torch.randn(2, 3, 4, 5, dim, generator=torch.Generator().manual_seed(seed))

    return make
