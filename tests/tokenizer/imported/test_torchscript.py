"""Pairs of TorchScript archives in the form of Cosmos-DV: run on request alone, measured before they are believed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from videogpt_tokenizer import load_video_tokenizer
from videogpt_tokenizer.imported.torchscript import TorchScriptTokenizer

LEVELS = [8, 5, 5]


class Encode(nn.Module):
    """Mean colours of blocks, rounded to a few levels; the first frame has a block of its own."""

    def __init__(self, time: int = 4, space: int = 8, kind: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.time, self.space = time, space
        self.scale = nn.Parameter(torch.ones(3, dtype=kind))
        self.register_buffer("_levels", torch.tensor(LEVELS), persistent=False)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        held = video[:, :, :1].repeat(1, 1, self.time - 1, 1, 1)
        size = [self.time, self.space, self.space]
        blocks = nn.functional.avg_pool3d(torch.cat([held, video], dim=2).float(), size)
        means = blocks.permute(0, 2, 3, 4, 1) * self.scale
        steps = ((means.float() + 1) / 2 * (self._levels - 1)).round().int()
        indices = steps[..., 0] + 8 * steps[..., 1] + 40 * steps[..., 2]
        return indices, steps.permute(0, 4, 1, 2, 3).to(video.dtype), means.new_zeros(1)


class Decode(nn.Module):
    def __init__(self, time: int = 4, space: int = 8) -> None:
        super().__init__()
        self.time, self.space = time, space
        self.register_buffer("_levels", torch.tensor(LEVELS), persistent=False)
        self.register_buffer("_basis", torch.tensor([1, 8, 40]), persistent=False)

    def forward(self, indices: Tensor) -> Tensor:
        steps = indices.unsqueeze(-1) // self._basis % self._levels
        means = (steps.float() / (self._levels - 1) * 2 - 1).permute(0, 4, 1, 2, 3)
        blocks = means.repeat_interleave(self.time, 2).repeat_interleave(self.space, 3)
        return blocks.repeat_interleave(self.space, 4)[:, :, self.time - 1 :].to(torch.bfloat16)


def save(folder: Path, encoder: nn.Module, decoder: nn.Module, *, trace: bool = False) -> Path:
    folder.mkdir()
    given = torch.zeros(1, 3, 9, 32, 32), torch.zeros(1, 3, 4, 4).int()
    for name, module, example in zip(("encoder", "decoder"), (encoder, decoder), given, strict=True):
        made = torch.jit.trace(module, example) if trace else torch.jit.script(module)
        torch.jit.save(made, str(folder / f"{name}.jit"))
    return folder


def load(folder: Path, **settings: int) -> TorchScriptTokenizer:
    return TorchScriptTokenizer.from_folder(folder, trust_torchscript=True, **settings)


@pytest.fixture(scope="module")
def video() -> Tensor:
    blocks = torch.rand(2, 3, 9, 4, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    return blocks.repeat_interleave(4, 3).repeat_interleave(4, 4)


@pytest.mark.parametrize(
    ("time", "space", "trace", "kind"),
    [
        (4, 8, False, torch.float32),
        (4, 8, True, torch.float32),
        (8, 4, False, torch.float32),
        (4, 8, False, torch.bfloat16),
    ],
)
def test_codes_and_pixels_are_those_of_the_archives(time, space, trace, kind, video, tmp_path):
    encoder, decoder = Encode(time, space, kind), Decode(time, space)
    tokenizer = load_video_tokenizer(save(tmp_path / "pair", encoder, decoder, trace=trace), trust_torchscript=True)
    assert (tokenizer.time_stride, tokenizer.space_stride, tokenizer.codebook_size) == (time, space, 200)
    codes = tokenizer.encode(video)
    expected = encoder(video.to(kind))[0]
    assert codes.dtype == torch.long and codes.shape[1:] == tokenizer.grid(9, 16, 24) == expected.shape[1:]
    assert torch.equal(codes, expected.long()) and codes.unique().numel() > 3
    pixels = tokenizer.decode(codes)
    assert pixels.dtype == torch.float32 and pixels.shape == video.shape
    torch.testing.assert_close(pixels, decoder(expected).float(), atol=0, rtol=0)


def test_nothing_is_run_without_being_told_to(tmp_path):
    mark = tmp_path / "was-run"

    class Writes(Encode):
        """What a hostile program could do: the operator makes the file."""

        def __init__(self, path: str) -> None:
            super().__init__()
            self.path = path

        def forward(self, video: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            content = torch.from_file(self.path, shared=True, size=1)
            indices = torch.zeros(1, 5, 8, 8, dtype=torch.int32)
            return indices, content, content

    folder = save(tmp_path / "pair", Writes(str(mark)), Decode())
    with pytest.raises(ValueError, match=r"TorchScript programs, which run .* \(--trust-torchscript\)"):
        load_video_tokenizer(folder)
    assert not mark.exists()
    load_video_tokenizer(folder, trust_torchscript=True)
    assert mark.exists()  # it is a program, after all


def test_the_interface_says_what_it_takes(video, tmp_path):
    folder = save(tmp_path / "pair", Encode(), Decode())
    tokenizer = load(folder)
    assert tokenizer.num_frames(3) == 9 and tokenizer.latent_frames(6) == 3 and tokenizer.frames_at_once == 17
    with pytest.raises(ValueError, match="8 frames do not fit the tokenizer: the nearest counts are 5 and 9"):
        tokenizer.encode(video[:, :, :8])
    with pytest.raises(ValueError, match="codes span 0 to 200"):
        tokenizer.decode(torch.tensor([0, 200]).view(1, 1, 1, 2))
    other = load(save(tmp_path / "other", Encode(8), Decode(8)))
    assert load(folder).fingerprint() == tokenizer.fingerprint() != other.fingerprint()


class Constant(nn.Module):
    """One code everywhere, of a vocabulary that it tells only if it is given levels."""

    def __init__(self, code: int, levels: list[int] | None = None) -> None:
        super().__init__()
        self.code = code
        if levels:
            self.register_buffer("_levels", torch.tensor(levels))

    def forward(self, video: Tensor) -> Tensor:
        grid = [video.shape[0], 1 + video.shape[2] // 4, video.shape[3] // 8, video.shape[4] // 8]
        return torch.full(grid, self.code)


class Table(nn.Module):
    """A decoder with a codebook that it cannot look beyond."""

    def __init__(self, size: int = 50) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size, 3)

    def forward(self, indices: Tensor) -> Tensor:
        means = self.embedding(indices).permute(0, 4, 1, 2, 3)
        blocks = means.repeat_interleave(4, 2).repeat_interleave(8, 3).repeat_interleave(8, 4)
        return blocks[:, :, 3:]


def test_a_vocabulary_that_the_archives_do_not_tell_is_given(tmp_path):
    folder = save(tmp_path / "pair", Constant(0), Table())
    with pytest.raises(ValueError, match="do not say how many codes there are: .*give .* a codebook_size"):
        load_video_tokenizer(folder, trust_torchscript=True)
    assert load(folder, codebook_size=50).codebook_size == 50
    with pytest.raises(ValueError, match="decoder of the highest code, 50, fails"):
        load(folder, codebook_size=51)
    with pytest.raises(ValueError, match="codebook_size is 1099511627776; it must be"):
        load(folder, codebook_size=2**40)


def test_strides_that_are_given_are_held_against_what_is_found(tmp_path):
    folder = save(tmp_path / "pair", Encode(), Decode())
    assert load(folder, time_stride=4, space_stride=8).time_stride == 4
    for given, said in (({"time_stride": 8}, "time_stride is given as 8"), ({"space_stride": 0}, "space_stride is 0")):
        with pytest.raises(ValueError, match=said):
            load(folder, **given)
    wide = save(tmp_path / "wide", Encode(4, 128), Decode(4, 128))
    with pytest.raises(ValueError, match="encoder of 17x64x64 zeros fails"):
        load(wide)
    assert load(wide, space_stride=128).space_stride == 128


class Continuous(nn.Module):
    def forward(self, video: Tensor) -> Tensor:
        return nn.functional.avg_pool3d(video, [4, 8, 8])


class NotCausal(nn.Module):
    def forward(self, video: Tensor) -> Tensor:
        return torch.zeros(1, 3, 8, 7).int()


@pytest.mark.parametrize(
    ("encoder", "decoder", "said"),
    [
        (Continuous(), Decode(), "is it a continuous tokenizer"),
        (NotCausal(), Decode(), r"\(1, 3, 8, 7\) of 17x64x64, which is no 1 \+ k grid"),
        (Encode(), Decode(4, 4), r"decoder makes \(1, 3, 17, 32, 32\) of the codes of \(1, 3, 17, 64, 64\)"),
        (Encode(), Table(8), "decoder of codes .* fails"),
        (Decode(), Encode(), "encoder of 17x64x64 zeros fails"),
    ],
)
def test_pairs_that_do_not_do_what_they_should_are_refused(encoder, decoder, said, tmp_path):
    with pytest.raises(ValueError, match=said) as refusal:
        load_video_tokenizer(save(tmp_path / "pair", encoder, decoder), trust_torchscript=True)
    assert "\n" not in str(refusal.value)


def test_codes_beyond_the_vocabulary_are_not_given_out(video, tmp_path):
    tokenizer = load_video_tokenizer(save(tmp_path / "pair", Constant(200, LEVELS), Decode()), trust_torchscript=True)
    with pytest.raises(ValueError, match="codes span 200 to 200, but this tokenizer knows 0 to 199"):
        tokenizer.encode(video)


def test_incomplete_and_damaged_pairs_are_named(tmp_path):
    folder = save(tmp_path / "pair", Encode(), Decode())
    whole = (folder / "decoder.jit").read_bytes()
    for data in (whole[: len(whole) // 2], b"no archive"):
        (folder / "decoder.jit").write_bytes(data)
        with pytest.raises(ValueError, match=r"decoder\.jit is truncated or no TorchScript archive"):
            load_video_tokenizer(folder, trust_torchscript=True)
    (folder / "decoder.jit").unlink()
    with pytest.raises(ValueError, match=r"lacks decoder\.jit"):
        load(folder)
