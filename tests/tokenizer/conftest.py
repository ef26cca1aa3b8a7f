"""Real little clips, made once by PyAV for all tests of this package."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from videogpt_tokenizer.clips.clip import Clip


@pytest.fixture(scope="session")
def encode() -> Callable[..., Path]:
    """Writes pictures that av makes frames of, all of one size, as PyAV would for anybody; `moments` in 1 / rate."""

    def write(
        path: Path,
        pictures: Iterable[np.ndarray],
        codec: str = "libx264",
        *,
        rate: int = 8,
        moments: Iterable[int] | None = None,
        kind: str = "rgb24",
        pixels: str = "yuv420p",
        container: str | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        pictures = list(pictures)
        with av.open(str(path), "w", format=container) as output:
            stream = output.add_stream(codec, rate=rate, options=options or {})
            assert isinstance(stream, av.VideoStream)
            (stream.height, stream.width), stream.pix_fmt = pictures[0].shape[:2], pixels
            stream.codec_context.time_base = Fraction(1, rate)
            for picture, moment in zip(pictures, moments or range(len(pictures)), strict=True):
                frame = av.VideoFrame.from_ndarray(picture, kind)
                frame.pts, frame.time_base = moment, Fraction(1, rate)
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        return path

    return write


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
def grey_levels(encode: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a video of flat grey frames: frame i, up to 24, has level 10 * i and so tells its own number."""
    folder = tmp_path_factory.mktemp("grey")

    def write(name: str, milliseconds: Iterable[int], codec: str = "libx264") -> Path:
        moments = list(milliseconds)
        pictures = [np.full((32, 32, 3), 10 * (i % 25), np.uint8) for i in range(len(moments))]
        return encode(folder / name, pictures, codec, rate=1000, moments=moments, options={"g": "5"})

    return write


@pytest.fixture
def full_disk() -> Callable[..., AbstractContextManager[None]]:
    """A context in which no file grows beyond 20,000 bytes."""
    resource = pytest.importorskip("resource", reason="limits the size of files as only Unix can")

    @contextmanager
    def limited() -> Iterator[None]:
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    return limited


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
