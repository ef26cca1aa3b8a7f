"""Every kind of tokenizer is a `Tokenizer`: the same names, grids that fit, and a way through for any clip."""

import math
from collections.abc import Iterable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from videogpt_tokenizer.grid import Piece, Tokenizer, regrouped
from videogpt_tokenizer.imported.torchscript import TorchScriptTokenizer
from videogpt_tokenizer.imported.vqvae import VQVAEConfig, VQVAETokenizer


class Encode(nn.Module):
    """Brightness of blocks of 4x8x8, the first frame by itself, in 16 steps."""

    def forward(self, video: Tensor) -> Tensor:
        grey = video.mean(dim=1)
        grey = torch.cat([grey[:, :1].repeat(1, 3, 1, 1), grey], dim=1)
        return ((nn.functional.avg_pool3d(grey, [4, 8, 8]) + 1) * 7.5).round().int()


class Decode(nn.Module):
    def forward(self, codes: Tensor) -> Tensor:
        blocks = (codes.float() / 7.5 - 1).repeat_interleave(4, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
        return blocks[:, None, 3:].repeat(1, 3, 1, 1, 1)


@pytest.fixture(scope="module", params=["own", "vqvae", "pair"])
def tokenizer(request, make_tokenizer) -> Tokenizer:
    if request.param == "own":
        return make_tokenizer(encoder_context="wide", remembers=True)
    if request.param == "pair":
        return TorchScriptTokenizer(Encode(), Decode(), codebook_size=16, time_stride=4, space_stride=8, sha="pair")
    torch.manual_seed(0)
    config = VQVAEConfig(n_codes=32, embedding_dim=4, n_hiddens=8, n_res_layers=1, sequence_length=9)
    tokenizer = VQVAETokenizer(config).eval()
    nn.init.normal_(tokenizer.codebook.embeddings, std=0.5)
    return tokenizer


@pytest.fixture(scope="module")
def video() -> Tensor:
    return torch.rand(3, 25, 13, 9, generator=torch.Generator().manual_seed(1)) * 2 - 1


def whole(pieces: Iterable[Piece]) -> tuple[Tensor, Tensor, Tensor]:
    originals, results, codes = zip(*pieces, strict=True)
    return torch.cat(originals, dim=1), torch.cat(results, dim=1), torch.cat(codes)


def test_codes_and_pixels_have_the_shapes_that_it_says(tokenizer: Tokenizer) -> None:
    for latents in (1, 2, 5):
        frames, height, width = tokenizer.num_frames(latents), 3 * tokenizer.space_stride, 2 * tokenizer.space_stride
        grid = tokenizer.grid(frames, height, width)
        assert grid == tokenizer.covering_grid(frames, height - 1, width) == (latents, 3, 2)
        codes_BTHW = tokenizer.encode(torch.zeros(2, 3, frames, height, width))
        assert codes_BTHW.shape == (2, *grid) and int(codes_BTHW.max()) < tokenizer.codebook_size
        assert tokenizer.decode(codes_BTHW).shape == (2, 3, frames, height, width)
    assert tokenizer.bits_per_code() == math.log2(tokenizer.codebook_size)
    assert tokenizer.device.type == "cpu" and isinstance(tokenizer.fingerprint(), str)


def test_the_least_latent_frames_hold_every_number_of_frames(tokenizer: Tokenizer) -> None:
    for frames in range(1, 30):
        latents = tokenizer.latent_frames(frames)
        assert tokenizer.num_frames(latents) >= frames and (latents == 1 or tokenizer.num_frames(latents - 1) < frames)


def test_the_covering_grid_is_the_smallest(make_tokenizer) -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.covering_grid(1, 8, 9) == (1, 1, 2) and tokenizer.num_frames(5) == 17
    assert [tokenizer.covering_grid(frames, 1, 1).time for frames in (2, 5, 6, 9)] == [2, 2, 3, 3]


def test_a_count_of_frames_that_does_not_fit_names_the_nearest(tokenizer: Tokenizer) -> None:
    below, above = tokenizer.num_frames(2), tokenizer.num_frames(3)
    said = rf"{below + 1} frames do not fit .* counts are {below} and {above}, .*{tokenizer.first_frames} \+ 4k fit"
    with pytest.raises(ValueError, match=said):
        tokenizer.grid(below + 1, 16, 16)


def test_it_streams_or_says_why_not(tokenizer: Tokenizer) -> None:
    if tokenizer.streams:
        assert tokenizer.stream().encode(torch.zeros(1, 3, 1, 8, 8)).shape == (1, 1, 1, 1)
    else:
        with pytest.raises(ValueError, match=f"has no stream, .* of {tokenizer.frames_at_once} frames"):
            tokenizer.stream()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cuts=st.lists(st.integers(1, 24), max_size=6, unique=True))
@example(cuts=list(range(1, 25)))
def test_pieces_of_any_sizes_go_through_alike(tokenizer: Tokenizer, video: Tensor, cuts: list[int]) -> None:
    found = whole(tokenizer.through(video.tensor_split(sorted(cuts), dim=1)))
    for one, other in zip(found, whole(tokenizer.through([video])), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(found[0], video) and found[1].shape == video.shape


@pytest.mark.parametrize("frames", [1, 6, 25])
def test_it_is_encode_and_decode_of_the_padded_clip(tokenizer: Tokenizer, video: Tensor, frames: int) -> None:
    """Of the whole, or of each window by itself."""
    video = video[:, :frames]
    _, result, codes = whole(tokenizer.through([video]))
    height, width = (size * tokenizer.space_stride for size in tokenizer.covering_grid(1, *video.shape[2:])[1:])
    rows, columns = torch.arange(height).clamp(max=12), torch.arange(width).clamp(max=8)
    for first in range(0, frames, frames if tokenizer.streams else tokenizer.frames_at_once):
        window = video[:, first:] if tokenizer.streams else video[:, first : first + tokenizer.frames_at_once]
        latents = tokenizer.latent_frames(window.shape[1])
        times = torch.arange(tokenizer.num_frames(latents)).clamp(max=window.shape[1] - 1)
        expected = tokenizer.encode(window[:, times][:, :, rows][..., columns][None])
        assert torch.equal(codes[:latents], expected[0])
        pixels = tokenizer.decode(expected)[0, :, : window.shape[1], :13, :9]
        assert torch.equal(result[:, first : first + window.shape[1]], pixels)
        codes = codes[latents:]
    assert not len(codes)


def test_frames_come_out_as_soon_as_they_can(tokenizer: Tokenizer) -> None:
    """So that no more than a piece, and the frames that go through together, is in memory."""
    read = out = 0

    def pieces():
        nonlocal read
        for _ in range(12):
            assert read - out < tokenizer.frames_at_once
            read += 5
            yield torch.zeros(3, 5, 8, 8)

    for piece in tokenizer.through(pieces()):
        out += piece.result_CTHW.shape[1]
        assert piece.result_CTHW.shape == piece.original_CTHW.shape
    assert read == out == 60


def test_the_caller_may_reuse_the_memory_of_a_piece(tokenizer: Tokenizer, video: Tensor) -> None:
    buffer = torch.empty(3, 5, 13, 9)
    reused = (buffer.copy_(piece) for piece in video.split(5, dim=1))
    results = [piece.result_CTHW.clone() for piece in tokenizer.through(reused)]
    assert torch.equal(torch.cat(results, dim=1), whole(tokenizer.through([video]))[1])


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (torch.zeros(3, 2, 8, 9), r"a clip of \(8, 8\) pixels has a piece of \(8, 9\)"),
        (torch.zeros(2, 3, 8, 8), r"a piece of the clip is torch.float32 of shape \(2, 3, 8, 8\)"),
        (torch.zeros(3, 2, 8, 8, dtype=torch.uint8), "torch.uint8"),
        ("frames", "is a str"),
    ],
)
def test_pieces_that_are_no_clip_together_are_refused(tokenizer: Tokenizer, second, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(tokenizer.through([torch.zeros(3, 1, 8, 8), second]))


def test_pieces_are_cut_anew_in_order_and_none_are_no_clip(tokenizer: Tokenizer) -> None:
    frames = torch.arange(10.0).view(1, 10, 1, 1).expand(3, -1, 1, 1)
    cut = list(regrouped(frames.split([3, 1, 6], dim=1), iter([1, 4, 4, 4])))
    assert [piece.shape[1] for piece in cut] == [1, 4, 4, 1] and torch.equal(torch.cat(cut, dim=1), frames)
    assert list(tokenizer.through([])) == []
