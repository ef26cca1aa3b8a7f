"""Real little clips, made once by PyAV, and small tokenizers, for all tests of this package."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture(scope="session")
def smooth_clip() -> Clip:
    """9 frames of 48 x 64 at 8 fps: soft colours that move to the right, 3 pixels a frame."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, 4, 4, generator=generator)
    (picture_CHW,) = F.interpolate(noise, size=(48, 64), mode="bicubic").clamp(0, 1)
    video_CTHW = torch.stack([picture_CHW.roll(3 * t, dims=2) for t in range(9)], dim=1)
    return Clip.from_video(video_CTHW * 2 - 1, fps=8)


@pytest.fixture(scope="session")
def clip_file(smooth_clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smooth clip as an mp4."""
    return smooth_clip.write(tmp_path_factory.mktemp("clips") / "smooth.mp4")


@pytest.fixture(scope="session")
def of_context(make_tokenizer: Callable[..., VideoTokenizer]) -> Callable[..., VideoTokenizer]:
    """`of_context(context, **settings)`: a tokenizer whose encoder sees that far, with all of 200 codes in use."""

    def make(context: str, **settings: object) -> VideoTokenizer:
        settings = {"widths": (16, 32), "encoder_context": context, "remembers": True, **settings}
        tokenizer = make_tokenizer(levels=(8, 5, 5), **settings)
        with torch.no_grad():
            tokenizer.encoder.to_latent[1].weight.mul_(4)  # spread over the codebook
        return tokenizer

    return make


@pytest.fixture(scope="session")
def video() -> torch.Tensor:
    return torch.rand(2, 3, 17, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="session")
def pickled_call() -> type:
    """`pickled_call(function, *arguments)`: an object whose pickle is a call."""

    class Call:
        def __init__(self, *call: object) -> None:
            self.call = call

        def __reduce__(self) -> tuple[object, ...]:
            return self.call[0], self.call[1:]

    return Call


@pytest.fixture(scope="session")
def grey_levels(encode: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a video of flat grey frames: frame i, up to 24, has level 10 * i and so tells its own number."""
    folder = tmp_path_factory.mktemp("grey")

    def write(name: str, milliseconds: Iterable[int], codec: str = "libx264") -> Path:
        moments = list(milliseconds)
        pictures = [np.full((32, 32, 3), 10 * (i % 25), np.uint8) for i in range(len(moments))]
        return encode(folder / name, pictures, codec, rate=1000, moments=moments, options={"g": "5"})

    return write


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real clips."""
    folder = os.environ.get("VIDEOGPT_DATA")
    if not folder:
        pytest.skip("VIDEOGPT_DATA names no folder of real clips")
    return Path(folder)


@pytest.fixture(scope="session")
def cases() -> Path:
    """The folder of small files that are like those of people."""
    return Path(__file__).parents[1] / "cases"
