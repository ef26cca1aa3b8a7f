"""Tensors are counted, and damaged files of them refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from videogpt.inspection.inspect import inspect_path


def test_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.float16)}, tmp_path / "x.safetensors")
    assert "2 tensors with 10 values (float16, float32)" in inspect_path(tmp_path / "x.safetensors").lines[0]
    damaged = tmp_path / "x.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated, altered or not safetensors"):
        inspect_path(tmp_path / "x.safetensors")
