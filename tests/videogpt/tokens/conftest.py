"""Seven clips as token shards, made by a tiny tokenizer with random weights."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from videogpt.tokens.writer import tokenize_clips
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., VideoTokenizer]:
    """Makes tiny tokenizers with random weights."""

    def make(seed: int = 0, levels: tuple[int, ...] = (8, 5, 5, 5), **network: str) -> VideoTokenizer:
        torch.manual_seed(seed)
        autoencoder = AutoencoderConfig(widths=(16, 16), encoder_depth=1, decoder_depth=1, **network)
        return VideoTokenizer(TokenizerConfig(autoencoder=autoencoder, quantizer=QuantizerConfig(levels=levels))).eval()

    return make


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer) -> VideoTokenizer:
    return make_tokenizer()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """Seven lossless clips of 12 to 18 frames and a table of captions."""
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for i in range(7):
        frames = torch.randint(0, 256, (12 + i, 16, 24, 3), generator=torch.Generator().manual_seed(i))
        Clip(frames.to(torch.uint8), 8).write(folder / f"{i}.avi")
        rows.append(json.dumps({"file_name": f"{i}.avi", "caption": f"clip {i}\n\u2028 \u7ea2"}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shards(tmp_path_factory, clips: Path, tokenizer: VideoTokenizer) -> Path:
    output = tmp_path_factory.mktemp("shards") / "tokens"
    tokenize_clips(clips, tokenizer, output, num_frames=9, size=(16, 24), batch_size=3)
    return output


@pytest.fixture
def damaged(shards: Path, tmp_path) -> Path:
    """A copy to damage."""
    return shutil.copytree(shards, tmp_path / "damaged")
