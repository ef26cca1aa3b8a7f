"""A tiny tokenizer and a complete tiny model with random weights, for all tests."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videogpt.layouts.config import LayoutConfig
from videogpt.layouts.text_to_video import TextToVideo
from videogpt.model.config import VideoGPTConfig
from videogpt.model.network import VideoGPT
from videogpt.pipeline.saved_model import SavedModel, save_model
from videogpt_tokenizer.text_tokenizer import TextTokenizer
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer: Callable[..., VideoTokenizer]) -> VideoTokenizer:
    """1000 codes. Leave it so."""
    return make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model(make_tokenizer: Callable[..., VideoTokenizer]) -> SavedModel:
    """1 + 4k frames up to 9 of 16 x 24 pixels: 3 latent frames of 2 x 3 codes out of 75. Leave it so."""
    torch.manual_seed(0)
    text_tokenizer = TextTokenizer.train(["a red circle moves left", "a blue star spins"], vocab_size=300)
    tokenizer = make_tokenizer(levels=(5, 5, 3))
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
        tokenizer=tokenizer,
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


@pytest.fixture(scope="session")
def model_folder(tiny_model: SavedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, saved. Leave it so."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, tiny_model)
    return folder


@pytest.fixture
def other_model(tiny_model: SavedModel, make_tokenizer: Callable[..., VideoTokenizer]) -> SavedModel:
    """The tiny model with another video tokenizer of the same shape."""
    return dataclasses.replace(tiny_model, tokenizer=make_tokenizer(seed=1, levels=(5, 5, 3)))
