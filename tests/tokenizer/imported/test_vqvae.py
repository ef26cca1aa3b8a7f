"""VideoGPT's VQ-VAE from its own checkpoints: codes and pixels of the published network, and nothing pickled is run."""

import argparse
import math
import pickle
import re
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from videogpt_tokenizer import load_video_tokenizer
from videogpt_tokenizer.imported.vqvae import VQVAEConfig, VQVAETokenizer
from videogpt_tokenizer.imported.vqvae_checkpoint import is_vqvae_checkpoint, read_vqvae_checkpoint

SETTINGS = {"embedding_dim": 6, "n_codes": 40, "n_hiddens": 8, "n_res_layers": 2, "sequence_length": 8}


def random_state(downsample: tuple[int, int, int], seed: int = 0) -> dict[str, Tensor]:
    """Weights, and what a checkpoint holds besides; the functions below hold their names to the published ones."""
    generator, state = torch.Generator().manual_seed(seed), {}
    for name, like in VQVAETokenizer(VQVAEConfig(**SETTINGS, downsample=downsample)).state_dict().items():
        fan_in = like[0].numel() if like.ndim > 1 else 4
        scale = {"decoder.convts.weight": 0.03, "decoder.convts.bias": 0.1}.get(re.sub(r"\.\d.convt", "", name))
        drawn = torch.randn(like.shape, generator=generator) * (scale or 1.5 / math.sqrt(fan_in))
        state[name] = drawn.abs() + 0.5 if name.endswith("running_var") else drawn.to(like.dtype)
    latents = embed(torch.rand(2, 3, 16, 32, 32, generator=generator) - 0.5, state, downsample).flatten(0, -2)
    codes = SETTINGS["n_codes"]
    chosen = torch.randperm(len(latents), generator=generator)[:codes]
    state["codebook.embeddings"] = latents[chosen] + 1e-3  # spread as latents are, so that all codes are in use
    return state | {"codebook.N": torch.ones(codes), "codebook.z_avg": state["codebook.embeddings"].clone()}


# What follows is written from the public description of the network, with functions alone, to hold the module to.


def strides(downsample: tuple[int, int, int]) -> list[list[int]]:
    levels = int(math.log2(max(downsample)))
    return [[2 if factor >> level > 1 else 1 for factor in downsample] for level in range(levels)]


def padded(x: Tensor, kernel: int, stride: list[int]) -> Tensor:
    """kernel - stride zeros an axis, the larger half in front."""
    totals = [kernel - step for step in reversed(stride)]  # F.pad begins with the last axis
    return F.pad(x, [half for total in totals for half in (total - total // 2, total // 2)])


def attention(x: Tensor, state: dict[str, Tensor], name: str, axis: int) -> Tensor:
    """Two heads over one axis of (B, T, H, W, C), by plain products."""
    width = x.shape[-1]
    q, k, v = (x @ state[f"{name}.{linear}.weight"].t() for linear in ("w_qs", "w_ks", "w_vs"))
    heads = []
    for half in (slice(0, width // 2), slice(width // 2, width)):
        qh, kh, vh = (part[..., half].transpose(axis, -2) for part in (q, k, v))
        weights = (qh @ kh.transpose(-1, -2) / math.sqrt(width // 2)).softmax(dim=-1)
        heads.append((weights @ vh).transpose(axis, -2))
    return torch.cat(heads, dim=-1) @ state[f"{name}.fc.weight"].t() + state[f"{name}.fc.bias"]


def res_stack(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts).relu()

    for index in range(SETTINGS["n_res_layers"]):
        block = f"{name}.res_stack.{index}.block"
        h = F.conv3d(norm(x, f"{block}.0"), state[f"{block}.2.conv.weight"], padding=1)
        h = norm(F.conv3d(norm(h, f"{block}.3"), state[f"{block}.5.conv.weight"]), f"{block}.6").movedim(1, -1)
        for a, axis in (("w", 3), ("h", 2), ("t", 1)):
            x = x + attention(h, state, f"{block}.8.attn_{a}", axis).movedim(-1, 1)
    return norm(x, f"{name}.res_stack.{SETTINGS['n_res_layers']}")


def embed(video: Tensor, state: dict[str, Tensor], downsample: tuple[int, int, int]) -> Tensor:
    """Video in [-0.5, 0.5] -> vectors (B, T, H, W, E) that codes are looked up for."""
    h = video
    for level, stride in enumerate(strides(downsample)):
        name = f"encoder.convs.{level}.conv"
        h = F.conv3d(padded(h, 4, stride), state[f"{name}.weight"], state[f"{name}.bias"], stride).relu()
    h = F.conv3d(h, state["encoder.conv_last.conv.weight"], state["encoder.conv_last.conv.bias"], padding=1)
    h = res_stack(h, state, "encoder")
    return F.conv3d(h, state["pre_vq_conv.conv.weight"], state["pre_vq_conv.conv.bias"]).movedim(1, -1)


def encode(video: Tensor, state: dict[str, Tensor], downsample: tuple[int, int, int]) -> Tensor:
    """Video in [-0.5, 0.5] -> codes."""
    vectors = embed(video, state, downsample)
    nearest = torch.cdist(vectors.flatten(0, -2).double(), state["codebook.embeddings"].double()).argmin(dim=-1)
    return nearest.view(vectors.shape[:-1])


def decode(codes: Tensor, state: dict[str, Tensor], downsample: tuple[int, int, int]) -> Tensor:
    """Codes -> video about [-0.5, 0.5]."""
    h = state["codebook.embeddings"][codes].movedim(-1, 1)
    h = F.conv3d(h, state["post_vq_conv.conv.weight"], state["post_vq_conv.conv.bias"])
    h = res_stack(h, state, "decoder")
    for level, stride in enumerate(strides(downsample)):
        name = f"decoder.convts.{level}.convt"
        h = h.relu() if level else h
        h = F.conv_transpose3d(padded(h, 4, stride), state[f"{name}.weight"], state[f"{name}.bias"], stride, padding=3)
    return h


def made_with(**settings: Any) -> dict[str, dict[str, argparse.Namespace]]:
    """The entry of a checkpoint in which Lightning 1.x kept settings."""
    return {"hyper_parameters": {"args": argparse.Namespace(**{**SETTINGS, "downsample": (4, 4, 4), **settings})}}


def save(path: Path, downsample: Any = (4, 4, 4), **changes: Any) -> Path:
    """A checkpoint as Lightning 1.x wrote it."""
    contents = {
        "epoch": 3,
        "global_step": 100,
        "pytorch-lightning_version": "1.2.0",
        "state_dict": OrderedDict(random_state(downsample)),
        "optimizer_states": [{"state": {0: {"step": 100, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 7e-4}]}],
        "lr_schedulers": [],
        "hparams_name": "args",
        **made_with(downsample=downsample, data_path="ucf101", gpus=2),
    }
    torch.save(contents | changes, path)
    return path


@pytest.fixture(scope="module")
def video() -> Tensor:
    return torch.rand(2, 3, 8, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("downsample", [(4, 4, 4), (2, 4, 4), (4, 2, 2), (1, 8, 8)], ids=str)
def test_codes_and_pixels_are_those_of_the_published_network(downsample, video, tmp_path):
    tokenizer = read_vqvae_checkpoint(save(tmp_path / "vqvae.ckpt", downsample))
    state = random_state(downsample)
    codes = tokenizer.encode(video)
    assert codes.unique().numel() > 15 and torch.equal(codes, encode(video / 2, state, downsample))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(video), codes)
    pixels = decode(codes, state, downsample) * 2
    assert (pixels.abs() < 0.95).float().mean() > 0.5  # where nothing is clamped
    torch.testing.assert_close(tokenizer.decode(codes), pixels.clamp(-1, 1), atol=1e-4, rtol=0)


def test_the_interface_is_that_of_a_video_tokenizer(video, tmp_path):
    tokenizer = load_video_tokenizer(save(tmp_path / "stride2x4x4", (2, 4, 4)))
    assert (tokenizer.codebook_size, tokenizer.time_stride, tokenizer.space_stride) == (40, 2, 4)
    codes = tokenizer.encode(video)
    assert codes.dtype == torch.long and codes.shape[1:] == tokenizer.grid(8, 16, 24) == (4, 4, 6)
    assert tokenizer.num_frames(4) == 8 and tokenizer.latent_frames(7) == 4 and tokenizer.frames_at_once == 8


def test_what_does_not_fit_names_what_does(video, tmp_path):
    tokenizer = read_vqvae_checkpoint(save(tmp_path / "vqvae.ckpt"))
    encode, decode = tokenizer.encode, tokenizer.decode
    for call, given, said in (
        (encode, torch.zeros(1, 3, 7, 16, 16), "7 frames .* nearest counts are 4 and 8"),
        (encode, torch.zeros(1, 3, 0, 16, 16), "0 frames .* nearest counts are 4 and 8"),
        (encode, torch.zeros(1, 3, 9, 16, 16), "9 frames .* nearest counts are 8 and 12"),
        (encode, torch.zeros(1, 3, 4, 16, 18), "width 18 is not a multiple of 4: the nearest sizes are 16 and 20"),
        (encode, torch.zeros(1, 3, 4, 16, 16, dtype=torch.uint8), "floating point"),
        (decode, torch.tensor([0, 40]).view(1, 1, 1, 2), "codes span 0 to 40"),
        (decode, torch.zeros(1, 1, 2, 2), "whole numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            call(given)


def test_saved_without_the_pickle_it_is_the_same_one(video, tmp_path):
    tokenizer = load_video_tokenizer(save(tmp_path / "vqvae.ckpt"))
    assert isinstance(tokenizer, VQVAETokenizer)
    tokenizer.save_pretrained(tmp_path / "saved")
    loaded = load_video_tokenizer(tmp_path / "saved")
    assert isinstance(loaded, VQVAETokenizer) and loaded.config == tokenizer.config
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert torch.equal(loaded.encode(video), tokenizer.encode(video))
    other = read_vqvae_checkpoint(save(tmp_path / "other.ckpt", state_dict=random_state((4, 4, 4), seed=1)))
    assert other.fingerprint() != tokenizer.fingerprint()


def test_lightnings_own_objects_are_neither_imported_nor_called(video, tmp_path, monkeypatch):
    """Old checkpoints name the class of each callback, and a function that was a default of the trainer's arguments."""
    with monkeypatch.context() as patch:
        for module in ("", ".callbacks", ".callbacks.model_checkpoint", ".utilities", ".utilities.argparse"):
            patch.setitem(sys.modules, f"pytorch_lightning{module}", types.ModuleType(f"pytorch_lightning{module}"))
        stand_ins = []
        for module, name in (("callbacks.model_checkpoint", "ModelCheckpoint"), ("utilities.argparse", "_default")):
            stand_ins.append(type(name, (), {"__module__": f"pytorch_lightning.{module}"}))
            setattr(sys.modules[f"pytorch_lightning.{module}"], name, stand_ins[-1])
        settings = made_with(downsample=[4, 4, 4], tpu_cores=stand_ins[1], made=stand_ins[1]())
        callbacks = {stand_ins[0]: {"best_model_score": torch.tensor(0.1)}}
        path = save(tmp_path / "old.ckpt", callbacks=callbacks, hyper_parameters=settings["hyper_parameters"]["args"])
    loaded, safe = set(sys.modules), set(torch.serialization.get_safe_globals())
    assert read_vqvae_checkpoint(path).encode(video).shape == (2, 2, 4, 6)
    assert not {name for name in set(sys.modules) - loaded if "lightning" in name}
    assert set(torch.serialization.get_safe_globals()) == safe


@pytest.mark.parametrize("place", ["hyper_parameters", "Namespace", "state_dict", "callbacks"])
@pytest.mark.parametrize("kind", ["exec", "touch", "attribute"])
def test_a_pickle_that_runs_code_is_refused_and_never_run(kind, place, tmp_path, pickled_call):
    mark = tmp_path / "was-run"
    hostile = {
        "exec": pickled_call(exec, f"open({str(mark)!r}, 'w')"),
        "touch": pickled_call(Path.touch, mark),
        "attribute": pickled_call(getattr, pickled_call(__import__, "os"), "getcwd"),
    }[kind]
    change = {
        "hyper_parameters": {"hyper_parameters": {**SETTINGS, "downsample": (4, 4, 4), "x": hostile}},
        "Namespace": made_with(x=hostile),
        "state_dict": {"state_dict": {**random_state((4, 4, 4)), "x": hostile}},
        "callbacks": {"callbacks": {"x": hostile}},
    }[place]
    path = save(tmp_path / "hostile.ckpt", **change)
    for read in (read_vqvae_checkpoint, load_video_tokenizer):
        with pytest.raises(ValueError, match="never loaded, since they could run code") as refusal:
            read(path)
        assert "\n" not in str(refusal.value)
    assert not is_vqvae_checkpoint(path) and not mark.exists()
    if kind != "attribute":
        torch.load(path, weights_only=False)  # this is what it would have done
        assert mark.exists()


def test_bare_pickles_and_damaged_files_are_refused(tmp_path, pickled_call):
    mark = tmp_path / "was-run"
    bare, cut, text, list_ = (tmp_path / name for name in ("bare.ckpt", "cut.ckpt", "text.ckpt", "list.ckpt"))
    bare.write_bytes(pickle.dumps(pickled_call(Path.touch, mark)))
    cut.write_bytes(save(tmp_path / "sound.ckpt").read_bytes()[:-3000])
    text.write_text("no checkpoint")
    torch.save([1, 2], list_)
    for path, said in (
        (bare, "truncated or no"),
        (cut, "truncated or no"),
        (text, "truncated"),
        (list_, "holds a list"),
    ):
        with pytest.raises(ValueError, match=said):
            read_vqvae_checkpoint(path)
    assert not mark.exists()


def test_small_files_that_take_any_memory_are_refused(tmp_path, pickled_call):
    """A deflated pickle, a call that allocates, tensors whose values are not in the file: a terabyte would not load."""
    sound, deflated = save(tmp_path / "sound.ckpt"), tmp_path / "deflated.ckpt"
    with zipfile.ZipFile(sound) as old, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    allowed = pickled_call(bytearray, 2**40)  # by torch.load, in files that it trusts nothing in
    allocating = save(tmp_path / "allocating.ckpt", callbacks={"x": allowed})
    large = save(tmp_path / "large.ckpt", callbacks={"x": "a" * 2**25})
    for path in (deflated, allocating, large):
        with pytest.raises(ValueError, match="not as torch.save writes it"):
            read_vqvae_checkpoint(path)
    settings = {**SETTINGS, "downsample": (4, 4, 4), "n_codes": 2**24, "embedding_dim": 2**14}
    for hollow in (torch.zeros(1, 1).expand(2**24, 2**14), torch.empty(2**24, 2**14, device="meta")):
        state = {**random_state((4, 4, 4)), "codebook.embeddings": hollow}
        path = save(tmp_path / "hollow.ckpt", state_dict=state, hyper_parameters=settings)
        with pytest.raises(ValueError, match=r"larger than what it holds of them \(codebook.embeddings\)"):
            read_vqvae_checkpoint(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (made_with(n_hiddens=10**9), "n_hiddens is 1000000000; it must be 16384 or less"),
        (made_with(n_res_layers=10**9), "n_res_layers is 1000000000"),
        (
            made_with(n_codes=2**24),
            r"codebook.embeddings is float32 \(40, 6\) where float32 \(16777216, 6\) is wanted",
        ),
        (made_with(n_hiddens=16384), r"decoder\..* is float32 .* is wanted"),
        (made_with(n_hiddens=7), "must be even"),
        (made_with(embedding_dim="6"), "embedding_dim is '6'; it must be a whole number"),
        (made_with(downsample=(4, 3, 3)), "downsample is .* powers of two"),
        (made_with(downsample=(2, 2, 2)), "one of them 4 or more"),
        (made_with(downsample=(4, 8, 4)), "the last two alike"),
        (made_with(downsample=4), "downsample is 4"),
        (made_with(downsample=(8, 4, 4)), r"decoder\.convts\.2\.convt\.bias, .* is missing"),
        (made_with(n_res_layers=1), r"is not known"),
        ({"hyper_parameters": None}, "has no hyper_parameters"),
        ({"hyper_parameters": {"n_codes": 3}}, "embedding_dim, n_hiddens, n_res_layers, downsample, .* is missing"),
        ({"state_dict": None}, "no state_dict"),
        ({"state_dict": {7: torch.zeros(1)}}, "no state_dict of tensors"),
        ({"state_dict": {"weight": 7}}, "no state_dict of tensors"),
        ({"state_dict": {"weight": torch.zeros(1)}}, "codebook.embeddings, pre_vq_conv.conv.weight is missing"),
    ],
)
def test_absurd_settings_those_of_other_weights_and_other_checkpoints_are_refused(changes, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        read_vqvae_checkpoint(save(tmp_path / "vqvae.ckpt", **changes))


def test_the_published_sizes_are_the_defaults():
    config = VQVAEConfig()
    assert (config.n_codes, config.embedding_dim, config.n_hiddens, config.downsample) == (2048, 256, 240, (4, 4, 4))
    assert config.strides == [(2, 2, 2), (2, 2, 2)] and VQVAEConfig(downsample=(4, 2, 2)).strides[1] == (2, 1, 1)
