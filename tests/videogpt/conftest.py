"""A complete tiny model with random weights, for every test of sampling and its files."""

import dataclasses

import pytest
import torch

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.saved_model import SavedModel
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.quantizers import QuantizerConfig
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="session")
def tiny_model() -> SavedModel:
    """1 + 4k frames up to 9 of 16 x 24 pixels: 3 latent frames of 2 x 3 codes out of 75. Leave it so."""
    torch.manual_seed(0)
    text_tokenizer = TextTokenizer.train(["a red circle moves left", "a blue star spins"], vocab_size=300)
    tokenizer = VideoTokenizer(
        TokenizerConfig(
            autoencoder=AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1),
            quantizer=QuantizerConfig(levels=(5, 5, 3)),
        )
    )
    task = TextToVideo(
        LayoutConfig(
            text_vocab_size=text_tokenizer.vocab_size,
            codebook_size=tokenizer.codebook_size,
            max_text_tokens=32,
            latent_frames=3,
            latent_height=2,
            latent_width=3,
        )
    )
    config = VideoGPTConfig(vocab_size=task.vocabulary.size, width=32, depth=2, heads=4, kv_heads=2)
    return SavedModel(
        tokenizer=tokenizer.eval(),
        text_tokenizer=text_tokenizer,
        task=task,
        network=decided(VideoGPT(config)).eval(),
        fps=8.0,
    )


def decided(model: VideoGPT) -> VideoGPT:
    """The model with sharper opinions than random weights have, so that prompts and settings matter."""
    assert model.head is not None
    with torch.no_grad():
        model.head.weight.mul_(3)
    return model


@pytest.fixture
def other_model(tiny_model: SavedModel) -> SavedModel:
    """The tiny model with another video tokenizer of the same shape."""
    torch.manual_seed(1)
    return dataclasses.replace(tiny_model, tokenizer=VideoTokenizer(tiny_model.tokenizer.config).eval())
