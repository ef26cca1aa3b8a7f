"""What all tests share: two threads in all, the same random numbers each time, GPU tests only where a GPU is,
and Triton's interpreter where none is."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
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


@pytest.fixture
def in_two_processes() -> Callable[..., None]:
    """Runs a program in two processes that find each other through torch.distributed; both have to end well."""

    def run(program: str, *arguments: object) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
        command = [sys.executable, "-c", program, *map(str, arguments)]
        processes = [subprocess.Popen(command, env=common | {"RANK": str(rank)}) for rank in range(2)]
        assert [process.wait(timeout=120) for process in processes] == [0, 0]

    return run


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Makes tiny video tokenizers with random weights: 4 x 8 x 8, 1000 codes, unless settings say otherwise.

    Those of the network are given by name, `quantizer` holds others. With `remembers` the mixes over time matter, which
    training begins at zero.
    """
    from videogpt_tokenizer import TokenizerConfig, VideoTokenizer

    def make(
        seed: int = 0,
        levels: tuple[int, ...] = (8, 5, 5, 5),
        *,
        remembers: bool = False,
        quantizer=None,
        **network: Any,
    ) -> VideoTokenizer:
        torch.manual_seed(seed)
        least, usual = {"widths": (16, 16), "encoder_depth": 1, "decoder_depth": 1}, TokenizerConfig()
        config = TokenizerConfig(
            autoencoder=replace(usual.autoencoder, **{**least, **network}),
            quantizer=replace(usual.quantizer, **{"levels": levels, **(quantizer or {})}),
        )
        tokenizer = VideoTokenizer(config)
        for name, parameter in tokenizer.named_parameters() if remembers else ():
            if "mix" in name:
                torch.nn.init.normal_(parameter, std=0.1)
        return tokenizer.eval()

    return make


@pytest.fixture(scope="session")
def encode() -> Callable[..., Path]:
    """Writes pictures that av makes frames of, all of one size, as PyAV would for anybody; `moments` in 1 / rate."""
    import av

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


@pytest.fixture
def break_reading(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the decoder of the files of a name raise an error, behind so many frames."""
    from videogpt_tokenizer.clips import read

    usual = read._open_source

    def break_(name: str, error: Exception, behind: int = 0) -> None:
        def failing(frames: Iterable[Any]) -> Iterator[Any]:
            yield from islice(frames, behind)
            raise error

        @contextmanager
        def open_source(file: Any, start: float) -> Iterator[Any]:
            with usual(file, start) as movie:
                is_it = Path(file.name).name == name
                yield movie._replace(frames=failing(movie.frames)) if is_it else movie

        monkeypatch.setattr(read, "_open_source", open_source)

    return break_


@pytest.fixture
def full_disk() -> Callable[..., AbstractContextManager[None]]:
    """A context in which no file grows beyond so many bytes, 20,000 unless it is told."""
    resource = pytest.importorskip("resource", reason="limits the size of files as only Unix can")

    @contextmanager
    def limited(most_bytes: int = 20_000) -> Iterator[None]:
        usual = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, usual[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, usual)

    return limited
