"""Loaded, a tokenizer is float32 whatever the program's default type is; in another type it still makes good codes."""

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from videogpt_tokenizer import VideoTokenizer
from videogpt_tokenizer.export.loader_file import write_with_loader
from videogpt_tokenizer.metrics import psnr

TYPES = [torch.float16, torch.bfloat16, torch.float64]
KINDS = ["fsq", "vq", "lfq", "simvq", "bsq", "rvq", "rfsq"]


@pytest.fixture(params=TYPES, ids=str)
def default_type(request) -> Iterator[torch.dtype]:
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def video() -> Tensor:
    noise = torch.rand(1, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return torch.nn.functional.interpolate(noise, size=(9, 64, 64), mode="trilinear") * 2 - 1


@pytest.fixture(scope="module")
def natural() -> VideoTokenizer:
    return VideoTokenizer.from_pretrained("natural")


@pytest.fixture(scope="module", params=KINDS)
def any_kind(request, make_tokenizer, tmp_path_factory) -> tuple[VideoTokenizer, Path]:
    """A tokenizer with each quantizer, and a folder with the loader of one file."""
    tokenizer = make_tokenizer(quantizer={"kind": request.param, "codebook_size": 64})
    folder = tmp_path_factory.mktemp("loader")
    write_with_loader(tokenizer, folder)
    return tokenizer, folder


def test_a_shipped_one_that_is_loaded_makes_the_same(default_type, natural, video) -> None:
    torch.set_default_dtype(torch.float32)
    codes = natural.encode(video)
    frames = natural.decode(codes)
    torch.set_default_dtype(default_type)
    loaded = VideoTokenizer.from_pretrained("natural")
    assert loaded.fingerprint() == natural.fingerprint() and torch.get_default_dtype() == default_type
    for tokenizer in (natural, loaded):
        assert torch.equal(tokenizer.encode(video), codes)
        assert torch.equal(tokenizer.decode(codes), frames) and frames.dtype == torch.float32
    assert next(VideoTokenizer().parameters()).dtype == torch.float32


def test_every_quantizer_and_the_loader_of_one_file_make_the_same(default_type, any_kind, video, tmp_path) -> None:
    tokenizer, folder = any_kind
    torch.set_default_dtype(torch.float32)
    loader = ModuleType("load_tokenizer")
    exec((folder / "load_tokenizer.py").read_text(), loader.__dict__)
    codes = tokenizer.encode(video)
    frames, frames_alone = (each.decode(codes) for each in (tokenizer, loader.load_tokenizer(folder)))
    torch.set_default_dtype(default_type)
    tokenizer.save_pretrained(tmp_path)
    alone = loader.load_tokenizer(folder)
    for other, wanted in (
        (tokenizer, frames),
        (VideoTokenizer.from_pretrained(tmp_path), frames),
        (alone, frames_alone),
    ):
        assert torch.equal(other.encode(video), codes) and torch.equal(other.decode(codes), wanted)
    with pytest.raises(ValueError, match="no longer float32.*float"):
        alone.to(torch.float16).encode(video)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_converted_it_encodes_and_decodes_about_as_well(dtype, natural, video, tmp_path) -> None:
    codes = natural.encode(video)
    tokenizer = copy.deepcopy(natural).to(dtype)
    found = tokenizer.encode(video)
    frames = tokenizer.decode(found)
    assert frames.dtype == dtype and (found == codes).float().mean() > (0.999 if dtype == torch.float64 else 0.95)
    assert abs(psnr(frames, video) - psnr(natural.decode(codes), video)) < 0.1
    streamed = tokenizer.stream()
    assert torch.equal(torch.cat([streamed.encode(video[:, :, :4]), streamed.encode(video[:, :, 4:])], dim=1), found)
    (clip,) = tokenizer.decode_clips(tokenizer.encode_clips([video[0]]))
    assert clip.shape == video[0].shape and len(tokenizer.fingerprint()) == 64
    tokenizer.save_pretrained(tmp_path)
    assert next(VideoTokenizer.from_pretrained(tmp_path).parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_quantizers_stay_float32(dtype, any_kind, video) -> None:
    tokenizer = copy.deepcopy(any_kind[0]).to(dtype)
    assert all(tensor.dtype != dtype for tensor in tokenizer.quantizer.state_dict().values())
    codes = tokenizer.encode(video)
    assert tokenizer.decode(codes).dtype == dtype
    assert torch.equal(tokenizer.quantizer.lookup(codes), any_kind[0].quantizer.lookup(codes))


def test_threads_that_load_at_once_do_not_set_each_others_type() -> None:
    def loaded(_: int) -> torch.dtype:
        return next(VideoTokenizer().parameters()).dtype

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(loaded, range(40))) == {torch.float32}
        assert torch.get_default_dtype() == torch.float16
    finally:
        torch.set_default_dtype(before)
