"""The loader of one file: equal to the package, strict about what it is given, in need of torch alone."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from vector_quantize_pytorch import ResidualFSQ, ResidualVQ

from videogpt_tokenizer.export import standalone
from videogpt_tokenizer.export.export import export_tokenizer
from videogpt_tokenizer.export.graphs import standalone_of
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer


@pytest.fixture(scope="module")
def video() -> torch.Tensor:
    return torch.rand(2, 3, 17, 32, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1


def make_tokenizer(context: str, **settings: int) -> VideoTokenizer:
    torch.manual_seed(0)
    network = AutoencoderConfig(widths=(16, 32), encoder_depth=1, decoder_depth=1, encoder_context=context, **settings)
    tokenizer = VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=QuantizerConfig(levels=(8, 5, 5))))
    for name, parameter in tokenizer.named_parameters():
        if "mix" in name:  # zero at the start of training
            torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        tokenizer.encoder.to_latent[1].weight.mul_(4)  # spread over the codebook
    return tokenizer.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tokenizer("wide").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("context", "settings"),
    [("wide", {}), ("local", {}), ("patch", {}), ("wide", {"time_stride": 1}), ("local", {"time_stride": 2})],
)
def test_equal_to_the_package(context, settings, video, tmp_path):
    tokenizer = make_tokenizer(context, **settings)
    tokenizer.save_pretrained(tmp_path)
    loaded = standalone.load_tokenizer(tmp_path)
    codes = tokenizer.encode(video)
    assert codes.unique().numel() > 20 and torch.equal(loaded.encode(video), codes)
    torch.testing.assert_close(loaded.decode(codes), tokenizer.decode(codes), rtol=0, atol=1e-5)


def test_autocast_changes_no_code(video, folder):
    loaded = standalone.load_tokenizer(folder)
    with torch.autocast("cpu", torch.bfloat16):
        codes = loaded.encode(video)
    assert torch.equal(codes, loaded.encode(video))


@pytest.mark.parametrize("pieces", [[17], [1, 4, 4, 8], [2, 1, 3, 6, 5], [1] * 17])
def test_chunks_equal_the_whole(pieces, video, folder):
    tokenizer, loaded = VideoTokenizer.from_pretrained(folder), standalone.load_tokenizer(folder)
    codes, stream = tokenizer.encode(video), loaded.stream()
    assert torch.equal(torch.cat([stream.encode(chunk) for chunk in video.split(pieces, dim=2)], dim=1), codes)
    frames = torch.cat([stream.decode(chunk) for chunk in codes.split([1, 3, 1], dim=1)], dim=2)
    torch.testing.assert_close(frames, tokenizer.decode(codes), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("video", "codes"),
    [
        (torch.zeros(1, 3, 4, 32, 32), torch.full((1, 1, 4, 4), 200)),
        (torch.zeros(1, 3, 1, 32, 36), torch.full((1, 1, 4, 4), -1)),
        (torch.zeros(3, 1, 32, 32), torch.zeros(1, 4, 4, dtype=torch.long)),
        (torch.zeros(1, 3, 1, 32, 32, dtype=torch.uint8), torch.zeros(1, 1, 4, 4)),
    ],
)
def test_clips_and_codes_that_do_not_fit_are_refused(video, codes, folder):
    loaded = standalone.load_tokenizer(folder)
    with pytest.raises(ValueError, match="video"):
        loaded.encode(video)
    with pytest.raises(ValueError, match="codes"):
        loaded.decode(codes)


def rewrite(folder: Path, data: bytes, **changes: object) -> None:
    """Other weights with a checksum that fits, and a changed configuration."""
    (folder / "model.safetensors").write_bytes(data)
    config = json.loads((folder / "config.json").read_text())
    config = {**config, "weights_sha256": hashlib.sha256(data).hexdigest(), **changes}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("change", ["missing", "unknown", "misshapen", "half"])
def test_a_tensor_that_does_not_fit_is_named(change, folder):
    path, name = folder / "model.safetensors", "decoder.to_patches.2.bias"
    tensors = load_file(path)
    tensor = tensors.pop(name)
    changed = {
        "missing": {},
        "unknown": {name: tensor, f"{name}.more": tensor.clone()},
        "misshapen": {name: tensor[1:].clone()},
    }
    save_file(tensors | changed.get(change, {name: tensor.half()}), path)
    rewrite(folder, path.read_bytes())
    with pytest.raises(ValueError, match=name):
        standalone.load_tokenizer(folder)


def headed(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 2**63) + b"{}",
        headed({}, b"left"),
        headed([]),
        headed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234"),
        headed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
        headed({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}),
        headed({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"1234"),
        headed({"a": {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]}}, b"1234"),
        headed({"a": {"dtype": "F32", "shape": [1]}}, b"1234"),
        headed({n: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for n in "ab"}, b"1234"),
    ],
)
def test_damaged_safetensors_are_refused(data):
    with pytest.raises(ValueError, match="model.safetensors"):
        standalone.parse_safetensors(data)


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("autoencoder", {"dilation": 2}, "dilation"),
        ("autoencoder", {"widths": []}, "widths"),
        ("autoencoder", {"encoder_context": "far"}, "far"),
        ("quantizer", {"kind": "vq"}, "vq"),
        ("quantizer", {"levels": [8, 2]}, "levels"),
    ],
)
def test_settings_that_are_not_known_are_named(part, changes, said, folder):
    config = json.loads((folder / "config.json").read_text())
    rewrite(folder, (folder / "model.safetensors").read_bytes(), **{part: config[part] | changes})
    with pytest.raises(ValueError, match=said):
        standalone.load_tokenizer(folder)


def test_altered_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ValueError, match="altered"):
        standalone.load_tokenizer(folder)
    path.unlink()
    with pytest.raises(ValueError, match="not a complete"):
        standalone.load_tokenizer(folder)


@pytest.mark.parametrize("kind", ["fsq", "rvq"])
def test_torch_is_all_it_needs(kind, tmp_path, video):
    """Copied beside the weights, in an interpreter without the packages."""
    tokenizer, folder = make_tokenizer("wide") if kind == "fsq" else trained_tokenizer(kind), tmp_path
    export_tokenizer(tokenizer, "safetensors", folder)
    torch.save({"video": video, "codes": tokenizer.encode(video)}, folder / "wanted.pt")
    program = """
import sys
blocked = ["videogpt_tokenizer", "videogpt", "einops", "safetensors", "numpy", "lightning", "vector_quantize_pytorch"]
sys.modules.update(dict.fromkeys(blocked))
import torch
from load_tokenizer import load_tokenizer
wanted, tokenizer = torch.load("wanted.pt"), load_tokenizer(".")
assert torch.equal(tokenizer.encode(wanted["video"]), wanted["codes"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


KINDS = ["vq", "simvq", "lfq", "bsq", "rvq", "rfsq"]


def trained_tokenizer(kind: str) -> VideoTokenizer:
    """With a codebook that has seen some latents."""
    torch.manual_seed(0)
    network = AutoencoderConfig(widths=(16,), encoder_depth=1, decoder_depth=1, time_stride=2)
    quantizer = QuantizerConfig(kind=kind, codebook_size=64, codebook_dim=5, levels=(5, 4, 3), stages=3)
    tokenizer = VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=quantizer))
    for _ in range(3):
        tokenizer.quantizer.train()(torch.randn(2, 3, 16, 16, tokenizer.quantizer.dim))
    return tokenizer.eval()


def loader_of(folder: Path) -> ModuleType:
    loader = ModuleType("load_tokenizer")
    exec(compile((folder / "load_tokenizer.py").read_text(), "load_tokenizer.py", "exec"), loader.__dict__)
    return loader


def library_codes(tokenizer: VideoTokenizer, rows_1ND: torch.Tensor) -> torch.Tensor:
    """What vector-quantize-pytorch itself makes of latents, mixed into one number where it gives several."""
    config, quantizer = tokenizer.config.quantizer, tokenizer.quantizer
    library = getattr(quantizer, "codebook", None)
    if config.kind == "rvq":
        library = ResidualVQ(dim=5, num_quantizers=3, codebook_size=64)
        weights = quantizer.state_dict().items()
        library.load_state_dict({f"layers{name.removeprefix('codebooks')}": tensor for name, tensor in weights})
    if config.kind == "rfsq":
        library = ResidualFSQ(levels=list(config.levels), num_quantizers=3)
    assert library is not None
    indices = library.eval()(rows_1ND)[1].long()
    if indices.ndim == 2:
        return indices
    first, second, third = indices.unbind(dim=-1)
    size = quantizer.stage_sizes[0]
    return first + size * (second + 1) + size * (size + 1) * (third + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_quantizer_equals_the_library_code_for_code(kind, video, tmp_path):
    tokenizer = trained_tokenizer(kind)
    export_tokenizer(tokenizer, "safetensors", tmp_path)
    loaded = loader_of(tmp_path).load_tokenizer(tmp_path)
    quantizer = loaded.quantizer
    rows_1ND = torch.randn(1, 20_000, quantizer.dim, generator=torch.Generator().manual_seed(2))
    codes_1N = quantizer.encode(rows_1ND)
    assert torch.equal(codes_1N, library_codes(tokenizer, rows_1ND))
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
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantizer_is_the_same_in_graphs(kind, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    tokenizer = trained_tokenizer(kind)
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
    for found in (program.module()(latents, codes), [torch.from_numpy(array) for array in arrays]):
        assert torch.equal(found[0], tokenizer.quantizer.quantize_rows(latents[None])[1][0])
        torch.testing.assert_close(found[1], tokenizer.quantizer.lookup_rows(codes), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["vq", "bsq"])
def test_a_reduced_folder_and_one_that_is_not_are_told_apart(kind, tmp_path):
    tokenizer = trained_tokenizer(kind)
    (tmp_path / "reduced").mkdir()
    export_tokenizer(tokenizer, "safetensors", tmp_path / "reduced")
    tokenizer.save_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match=f"kind '{kind}' .* not known here"):
        loader_of(tmp_path / "reduced").load_tokenizer(tmp_path / "whole")
    with pytest.raises(ValueError, match="describes 'videogpt-tokenizer-reduced', and 'videogpt-tokenizer' is wanted"):
        VideoTokenizer.from_pretrained(tmp_path / "reduced")


def test_what_is_exported_of_finite_scalars_is_the_tokenizer_itself(tmp_path):
    for name, tokenizer in (("fsq", make_tokenizer("wide")), ("rfsq", trained_tokenizer("rfsq"))):
        (tmp_path / name).mkdir()
        export_tokenizer(tokenizer, "safetensors", tmp_path / name)
        assert VideoTokenizer.from_pretrained(tmp_path / name).fingerprint() == tokenizer.fingerprint()
    assert (tmp_path / "fsq" / "load_tokenizer.py").read_text() == Path(standalone.__file__).read_text()


def test_settings_that_came_later_may_be_missing(folder, video):
    config = json.loads((folder / "config.json").read_text())
    older = {key: value for key, value in config["quantizer"].items() if key not in ("stages", "quantizer_dropout")}
    wanted = standalone.load_tokenizer(folder).encode(video)
    rewrite(folder, (folder / "model.safetensors").read_bytes(), quantizer=older)
    assert torch.equal(standalone.load_tokenizer(folder).encode(video), wanted)


def test_chunks_equal_the_whole_to_the_bit(folder, video):
    tokenizer = standalone.load_tokenizer(folder)
    codes = tokenizer.encode(video)
    pixels = tokenizer.decode(codes)
    for plan in ([1] * 17, [1, 4, 4, 4, 4], [2, 9, 6]):
        stream = tokenizer.stream()
        assert torch.equal(torch.cat([stream.encode(chunk) for chunk in video.split(plan, dim=2)], dim=1), codes)
    stream = tokenizer.stream()
    assert torch.equal(torch.cat([stream.decode(chunk) for chunk in codes.split(2, dim=1)], dim=2), pixels)


def test_a_stream_keeps_nothing_of_the_callers_memory(folder, video):
    tokenizer = standalone.load_tokenizer(folder)
    stream, buffer = tokenizer.stream(), torch.empty_like(video[:, :, :3])
    parts = [stream.encode(buffer.copy_(video[:, :, start : start + 3])) for start in range(0, 15, 3)]
    parts.append(stream.encode(video[:, :, 15:]))
    assert torch.equal(torch.cat(parts, dim=1), tokenizer.encode(video))


@pytest.mark.parametrize("value", [-1.1, 2.0, float("nan")])
def test_values_out_of_range_are_refused(folder, video, value):
    video = video.clone()
    video[0, 0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="must lie in"):
        standalone.load_tokenizer(folder).encode(video)


def test_sizes_that_the_weights_do_not_have_take_no_memory(folder):
    """A terabyte's worth of layers would not come back with a ValueError."""
    config = json.loads((folder / "config.json").read_text())
    config["autoencoder"] |= {"widths": [16384, 16384], "encoder_depth": 64}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="asks for more numbers than model.safetensors has bytes"):
        standalone.load_tokenizer(folder)


def test_it_stays_small():
    assert len(Path(standalone.__file__).read_text().splitlines()) <= 250
