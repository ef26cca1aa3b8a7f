"""What all tests share: two threads in all, the same random numbers each time, GPU tests only where a GPU is,
and Triton's interpreter where none is."""

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, by the tests of the kernels


def pytest_configure() -> None:
    """Two threads at most, here and in the programs that tests start: tiny shapes gain nothing from more.

    Where several processes share the tests, each has one.
    """
    threads = 1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads())
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs CUDA, and torch finds none"))
    if "sweep" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("sweep")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Every test starts from the same state, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Makes tiny video tokenizers with random weights, of 4 x 8 x 8 pixels to a code."""
    from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
    from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig
    from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

    def make(seed: int = 0, levels: tuple[int, ...] = (8, 5, 5, 5)) -> VideoTokenizer:
        torch.manual_seed(seed)
        network = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1)
        return VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=QuantizerConfig(levels=levels))).eval()

    return make
