"""Latents to quantize, and quantizers that have seen some."""

from collections.abc import Callable

import pytest
import torch

from videogpt_tokenizer.quantizers.base import Quantizer
from videogpt_tokenizer.quantizers.config import QuantizerConfig, make_quantizer


@pytest.fixture
def latents() -> Callable[..., torch.Tensor]:
    """`latents(dim, scale=1.5, seed=0)`: the same ones for the same seed, (2, 3, 4, 5, dim)."""

    def make(dim: int, scale: float = 1.5, seed: int = 0) -> torch.Tensor:
        return scale * torch.randn(2, 3, 4, 5, dim, generator=torch.Generator().manual_seed(seed))

    return make


@pytest.fixture
def trained(latents: Callable[..., torch.Tensor]) -> Callable[[QuantizerConfig], Quantizer]:
    """`trained(config)`: after three steps, k-means among them, in evaluation."""

    def make(config: QuantizerConfig) -> Quantizer:
        quantizer = make_quantizer(config).train()
        for seed in range(3):
            quantizer(latents(quantizer.dim, seed=seed))
        return quantizer.eval()

    return make
