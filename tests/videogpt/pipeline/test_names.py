"""Tokenizers of other projects on the command line: reconstruct, tokenize and inspect take them, the rest says no."""

import argparse
import dataclasses
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from videogpt.evaluation.reconstruction import reconstruct_clip
from videogpt.inspection.inspect import inspect_path
from videogpt.pipeline.names import load_any_tokenizer, load_tokenizer
from videogpt.tokens.reader import TokenShardReader
from videogpt_tokenizer.clips.clip import Clip
from videogpt_tokenizer.imported.vqvae import VQVAEConfig, VQVAETokenizer


class Encode(nn.Module):
    """Brightness of blocks of 4x8x8, the first frame by itself, in 16 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_levels", torch.tensor([16]))

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        grey = video.mean(dim=1)
        grey = torch.cat([grey[:, :1].repeat(1, 3, 1, 1), grey], dim=1)
        steps = ((nn.functional.avg_pool3d(grey, [4, 8, 8]) + 1) * 7.5).round()
        return steps.int(), steps


class Decode(nn.Module):
    def forward(self, codes: Tensor) -> Tensor:
        blocks = (codes.float() / 7.5 - 1).repeat_interleave(4, 1).repeat_interleave(8, 2).repeat_interleave(8, 3)
        return blocks[:, None, 3:].repeat(1, 3, 1, 1, 1)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A pair of TorchScript archives, and the configuration of its own that a download may bring."""
    (tmp_path / "pair").mkdir()
    torch.jit.save(torch.jit.script(Encode()), str(tmp_path / "pair" / "encoder.jit"))
    torch.jit.save(torch.jit.script(Decode()), str(tmp_path / "pair" / "decoder.jit"))
    (tmp_path / "pair" / "config.json").write_text('{"architectures": ["Other"]}')
    return tmp_path / "pair"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of VideoGPT's VQ-VAE, under a name without a suffix as the published ones have."""
    sizes = {"n_codes": 32, "embedding_dim": 4, "n_hiddens": 8, "n_res_layers": 1}
    config = VQVAEConfig(**sizes, downsample=(4, 4, 4), sequence_length=9)
    tokenizer = VQVAETokenizer(config)
    tokenizer.codebook.embeddings.normal_(std=0.5)
    settings = {"args": argparse.Namespace(**dataclasses.asdict(config))}
    contents = {"state_dict": tokenizer.state_dict(), "hyper_parameters": settings}
    torch.save(contents, tmp_path / "ucf101_stride4x4x4")
    return tmp_path / "ucf101_stride4x4x4"


@pytest.fixture
def clips(tmp_path: Path, random_clip) -> Path:
    (tmp_path / "clips").mkdir()
    for frames in (16, 22):
        random_clip(frames, 20, 26).write(tmp_path / "clips" / f"{frames}.avi")
    return tmp_path / "clips"


@pytest.mark.parametrize(("frames", "num_codes"), [(1, 35), (8, 70), (9, 105), (24, 210)])
def test_windows_of_a_checkpoint_are_clips_by_themselves(frames, num_codes, checkpoint, random_clip):
    tokenizer, clip = load_any_tokenizer(checkpoint), random_clip(frames, 20, 26)
    assert tokenizer.frames_at_once == 8  # the nearest below 9 that fits
    result, counted = reconstruct_clip(clip, tokenizer)
    assert result.frames_THWC.shape == clip.frames_THWC.shape and result.fps == 8
    assert counted == num_codes == math.ceil(frames / 4) * 5 * 7
    first, _ = reconstruct_clip(Clip(clip.frames_THWC[:8], 8), tokenizer)
    assert torch.equal(result.frames_THWC[:8], first.frames_THWC)


def test_windows_of_a_pair_start_anew(pair, random_clip):
    tokenizer, clip = load_any_tokenizer(pair, trust_torchscript=True), random_clip(40, 20, 26)
    result, counted = reconstruct_clip(clip, tokenizer)
    assert counted == (5 + 5 + 3) * 3 * 4  # 17 frames, 17, and 6 held to 9
    second, _ = reconstruct_clip(Clip(clip.frames_THWC[17:34], 8), tokenizer)
    assert torch.equal(result.frames_THWC[17:34], second.frames_THWC)
    whole = tokenizer.decode(tokenizer.encode(clip.video_CTHW()[None, :, :17, :16, :24]))
    inside = result.video_CTHW()[None, :, :17, :16, :24]
    torch.testing.assert_close(inside, whole, atol=1 / 127, rtol=0)


def test_reconstruct_and_tokenize_take_a_checkpoint(checkpoint, clips, tmp_path, videogpt):
    given = [clips, "--tokenizer", checkpoint, "--output"]
    printed = videogpt("reconstruct", *given, tmp_path / "out")
    assert "22.avi (22x20x26)" in printed.out and "more than 8 frames go in windows" in printed.err
    command = ["tokenize", *given, tmp_path / "tokens", "--size", 16]
    nearest = "17 frames do not fit the tokenizer: the nearest counts are 16 and 20"
    assert nearest in videogpt(*command, code=2).err
    videogpt(*command, "--num-frames", 16)
    manifest = TokenShardReader(tmp_path / "tokens").manifest
    assert manifest.grid == (4, 4, 4) and manifest.codebook_size == 32
    assert manifest.tokenizer_fingerprint == load_any_tokenizer(checkpoint).fingerprint()


def test_a_pair_is_run_on_request_alone(pair, clips, tmp_path, videogpt):
    command, trust = ["reconstruct", clips / "16.avi", "--tokenizer", pair], "--trust-torchscript"
    assert trust in videogpt(*command, code=2).err
    assert "16.avi (16x20x26)" in videogpt(*command, trust).out
    given = ["--tokenizer", pair, "--output", tmp_path / "tokens", "--size", 16, "--num-frames", 13]
    videogpt("tokenize", clips, *given, trust)
    assert TokenShardReader(tmp_path / "tokens").manifest.grid == (4, 2, 2)


def test_where_a_model_needs_streams_they_are_refused(checkpoint, pair, tmp_path, videogpt):
    for path in (checkpoint, pair):
        with pytest.raises(ValueError, match="no tokenizer of this project: .*one is wanted that streams"):
            load_tokenizer(path)
    videogpt("export", checkpoint, "--format", "safetensors", "--output", tmp_path / "out", code=2)


def test_inspect_knows_them_and_runs_nothing(checkpoint, pair, tmp_path):
    found = inspect_path(checkpoint)
    assert "VideoGPT's VQ-VAE" in found.lines[0] and "32 codes, one for 4x4x4 pixels" in found.lines[1]
    tokenizer = load_any_tokenizer(checkpoint)
    assert isinstance(tokenizer, VQVAETokenizer)
    tokenizer.save_pretrained(tmp_path / "saved")
    assert inspect_path(tmp_path / "saved").lines[1:] == found.lines[1:]
    lines = inspect_path(pair).lines
    assert "two programs" in lines[0] and "encoder.jit: TorchScript" in lines[1] and "was not run" in lines[2]
    assert inspect_path(pair / "decoder.jit").lines == lines[2:]


@pytest.mark.parametrize("damage", ["cut", "altered", "text"])
def test_inspect_finds_a_damaged_archive(damage, pair):
    path = pair / "encoder.jit"
    content = bytearray(path.read_bytes())
    place = content.index(b"avg_pool3d") if b"avg_pool3d" in content else len(content) // 2
    altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    path.write_bytes({"cut": content[:-100], "altered": altered, "text": b"no archive"}[damage])
    for place in (path, pair):
        with pytest.raises(ValueError, match=r"encoder\.jit is truncated"):
            inspect_path(place)
