"""Runs, checkpoints and files of tensors are described, and nothing in them is run."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from videogpt.inspection.inspect import inspect_path
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


def checkpoint(**changes: Any) -> dict[str, Any]:
    """The skeleton of a Lightning checkpoint."""
    learned = {"state_dict": {"net.weight": torch.ones(3, 4)}, "optimizer_states": [{}]}
    return {**learned, "hyper_parameters": {"_class_path": "toy.Toy"}, "global_step": 7, "epoch": 1, **changes}


def test_checkpoints(tmp_path: Path) -> None:
    torch.save(checkpoint(), tmp_path / "a.ckpt")
    found = inspect_path(tmp_path / "a.ckpt")
    assert "checkpoint of toy.Toy, 7 steps, epoch 1" in found.lines[0]
    assert "1 tensors with 12 values (float32); with the state" in found.lines[1] and not found.faults
    torch.save(checkpoint(state_dict={"net.weight": torch.full((2,), torch.nan)}), tmp_path / "b.ckpt")
    assert "net.weight" in inspect_path(tmp_path / "b.ckpt").faults[0]
    damaged = tmp_path / "a.ckpt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated"):
        inspect_path(tmp_path / "a.ckpt")


def test_a_run_folder(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    empty = "\n".join(inspect_path(tmp_path).lines)
    assert "folder of a run" in empty and "no checkpoint yet" in empty and "nothing made yet" in empty
    torch.save(checkpoint(), tmp_path / "checkpoints" / "last.ckpt")
    tokenizer.save_pretrained(tmp_path / "pretrained")
    lines = "\n".join(inspect_path(tmp_path).lines)
    assert "folder of a run" in lines and "7 steps" in lines and "video tokenizer" in lines


@pytest.mark.parametrize("name", ["evil.ckpt", "evil.pkl", "evil.mp4"])
def test_nothing_is_ever_unpickled(name: str, tmp_path: Path, monkeypatch) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, ("hacked",)

    monkeypatch.chdir(tmp_path)
    if name == "evil.pkl":
        Path(name).write_bytes(pickle.dumps(Evil()))
    else:
        torch.save(checkpoint(hyper_parameters=Evil()), name)
    with pytest.raises(ValueError, match="never loaded|not a checkpoint"):
        inspect_path(Path(name))
    assert not Path("hacked").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state_dict": [torch.ones(1)]}, "has a list in place of a state_dict"),
        ({"state_dict": {"sparse": torch.eye(2).to_sparse()}}, "there and finite in sparse"),
        ({"state_dict": {"meta": torch.empty(9, device="meta")}}, "there and finite in meta"),
        ({"state_dict": {1: torch.tensor([float("nan")])}}, "there and finite in 1"),
    ],
)
def test_odd_checkpoints_are_told_in_one_line(changes: dict[str, Any], said: str, tmp_path: Path, videogpt) -> None:
    torch.save(checkpoint(**changes), tmp_path / "odd.ckpt")
    assert said in videogpt("inspect", tmp_path / "odd.ckpt", code=2).err


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"tokenizer": {}, "loss": {}}, "a video tokenizer in training"),
        ({"tokenizer": "t", "model": {}, "text": {}}, "t"),
        ([1, 2], "something unnamed"),
    ],
)
def test_what_a_checkpoint_is_of_and_small_floats_are_no_fault(settings: Any, said: str, tmp_path: Path) -> None:
    small = {"small": torch.ones(3).to(torch.float8_e4m3fn)}
    torch.save(checkpoint(hyper_parameters=settings, state_dict=small), tmp_path / "a.ckpt")
    found = inspect_path(tmp_path / "a.ckpt")
    assert said in found.lines[0] and not found.faults


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.float16)}, tmp_path / "x.safetensors")
    assert "2 tensors with 10 values (float16, float32)" in inspect_path(tmp_path / "x.safetensors").lines[0]
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated, altered or not safetensors"):
        inspect_path(tmp_path / "x.safetensors")
