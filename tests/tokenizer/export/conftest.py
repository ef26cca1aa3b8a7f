"""A small tokenizer of finite scalars, its folder, and a video."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="session")
def video() -> torch.Tensor:
    return torch.rand(2, 3, 17, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., VideoTokenizer]:
    """`make_tokenizer(context, **settings)`, of the encoder's context and other settings of the network."""
    return _make_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _make_tokenizer("wide").save_pretrained(tmp_path)
    return tmp_path


def _make_tokenizer(context: str, **settings: int) -> VideoTokenizer:
    torch.manual_seed(0)
    network = AutoencoderConfig(widths=(16, 32), encoder_depth=1, decoder_depth=1, encoder_context=context, **settings)
    tokenizer = VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=QuantizerConfig(levels=(8, 5, 5))))
    for name, parameter in tokenizer.named_parameters():
        if "mix" in name:  # zero at the start of training
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        tokenizer.encoder.to_latent[1].weight.mul_(4)  # spread over the codebook
    return tokenizer.eval()
