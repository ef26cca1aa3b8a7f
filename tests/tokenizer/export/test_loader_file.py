"""What is written with the loader: torch is all it needs, its quantizers are the tokenizer's, formats differ."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from videogpt_tokenizer.export import standalone
from videogpt_tokenizer.export.export import export_tokenizer
from videogpt_tokenizer.export.loader_file import standalone_of
from videogpt_tokenizer.video_tokenizer import VideoTokenizer


@pytest.fixture
def tokenizer(kind: str, make_tokenizer) -> VideoTokenizer:
    """With a quantizer of the kind, whose codebook has seen some latents."""
    quantizer = {"kind": kind, "codebook_size": 64, "codebook_dim": 5, "levels": (5, 4, 3), "stages": 3}
    tokenizer = make_tokenizer(widths=(16,), time_stride=2, encoder_context="wide", remembers=True, quantizer=quantizer)
    for _ in range(3):
        tokenizer.quantizer.train()(torch.randn(2, 3, 16, 16, tokenizer.quantizer.dim))
    return tokenizer.eval()


@pytest.mark.parametrize("kind", ["fsq", "rvq"])
def test_torch_is_all_it_needs(kind, tmp_path, video, tokenizer):
    """Copied beside the weights, in an interpreter without the packages."""
    export_tokenizer(tokenizer, "safetensors", tmp_path)
    torch.save({"video": video, "codes": tokenizer.encode(video)}, tmp_path / "wanted.pt")
    program = """
import sys
blocked = ["videogpt_tokenizer", "videogpt", "einops", "safetensors", "numpy", "lightning", "vector_quantize_pytorch"]
sys.modules.update(dict.fromkeys(blocked))
import torch
from load_tokenizer import load_tokenizer
wanted, tokenizer = torch.load("wanted.pt"), load_tokenizer(".")
assert torch.equal(tokenizer.encode(wanted["video"]), wanted["codes"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def loader_of(folder: Path) -> ModuleType:
    loader = ModuleType("load_tokenizer")
    exec(compile((folder / "load_tokenizer.py").read_text(), "load_tokenizer.py", "exec"), loader.__dict__)
    return loader


@pytest.mark.parametrize("kind", ["vq", "simvq", "lfq", "bsq", "rvq", "rfsq"])
def test_an_exported_quantizer_equals_the_tokenizers_code_for_code(kind, video, tmp_path, tokenizer):
    export_tokenizer(tokenizer, "safetensors", tmp_path)
    loaded = loader_of(tmp_path).load_tokenizer(tmp_path)
    quantizer = loaded.quantizer
    rows_1ND = torch.randn(1, 20_000, quantizer.dim, generator=torch.Generator().manual_seed(2))
    codes_1N = quantizer.encode(rows_1ND)
    assert torch.equal(codes_1N, tokenizer.quantizer.quantize_rows(rows_1ND)[1])
    assert codes_1N.unique().numel() > 50
    anything_N = torch.randint(tokenizer.codebook_size, (5_000,), generator=torch.Generator().manual_seed(3))
    for codes_N in (codes_1N[0], anything_N, anything_N % 64):
        assert torch.equal(quantizer.decode(codes_N), tokenizer.quantizer.lookup_rows(codes_N))
    codes = tokenizer.encode(video)
    assert torch.equal(loaded.encode(video), codes)
    torch.testing.assert_close(loaded.decode(codes), tokenizer.decode(codes), rtol=0, atol=1e-5)


class Both(torch.nn.Module):
    """Both ways through a quantizer, as one graph."""

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, latents: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.quantizer.encode(latents), self.quantizer.decode(codes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["vq", "bsq", "rvq", "rfsq"])  # simvq is a table as vq is, lfq signs as bsq is
def test_a_quantizer_is_the_same_in_graphs(kind, tmp_path, tokenizer):
    onnxruntime = pytest.importorskip("onnxruntime")
    module = Both(standalone_of(tokenizer).quantizer).eval()
    rows_N = torch.export.Dim("rows", min=1)
    example = (torch.randn(3, module.quantizer.dim), torch.randint(tokenizer.codebook_size, (3,)))
    program = torch.export.export(module, example, dynamic_shapes=({0: rows_N}, {0: rows_N}))
    torch.onnx.export(program, dynamo=True, verbose=False).save(tmp_path / "both.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "both.onnx")
    latents = torch.randn(20_000, module.quantizer.dim, generator=torch.Generator().manual_seed(2))
    codes = torch.randint(tokenizer.codebook_size, (20_000,), generator=torch.Generator().manual_seed(3))
    names = [port.name for port in session.get_inputs()]
    arrays = session.run(None, dict(zip(names, (latents.numpy(), codes.numpy()), strict=True)))
    for found in (program.module()(latents, codes), list(map(torch.from_numpy, arrays))):
        assert torch.equal(found[0], tokenizer.quantizer.quantize_rows(latents[None])[1][0])
        torch.testing.assert_close(found[1], tokenizer.quantizer.lookup_rows(codes), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["vq", "bsq"])
def test_a_reduced_folder_and_one_that_is_not_are_told_apart(kind, tmp_path, tokenizer):
    (tmp_path / "reduced").mkdir()
    export_tokenizer(tokenizer, "safetensors", tmp_path / "reduced")
    tokenizer.save_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match=f"kind '{kind}' .* not known here"):
        loader_of(tmp_path / "reduced").load_tokenizer(tmp_path / "whole")
    with pytest.raises(ValueError, match="describes 'videogpt-tokenizer-reduced', and 'videogpt-tokenizer' is wanted"):
        VideoTokenizer.from_pretrained(tmp_path / "reduced")


@pytest.mark.parametrize("kind", ["fsq", "rfsq"])
def test_what_is_exported_of_finite_scalars_is_the_tokenizer_itself(kind, tmp_path, tokenizer):
    export_tokenizer(tokenizer, "safetensors", tmp_path)
    assert VideoTokenizer.from_pretrained(tmp_path).fingerprint() == tokenizer.fingerprint()
    alone = (tmp_path / "load_tokenizer.py").read_text() == Path(standalone.__file__).read_text()
    assert alone == (kind == "fsq"), "others have more in theirs"
