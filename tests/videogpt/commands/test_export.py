"""`videogpt export`: the commands and programs of the tokenizer's README, run where nothing else is installed."""

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.cli import main
from videogpt_tokenizer.export import export, loader_file
from videogpt_tokenizer.export import graphs as export_graphs
from videogpt_tokenizer.video_tokenizer import VideoTokenizer

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "tokenizer" / "README.md").read_text(encoding="utf-8").partition("## Export")[2]
COMMANDS = [shlex.split(line)[1:] for line in SECTION.splitlines() if line.startswith("videogpt export")]
PROGRAMS = dict(
    zip(("safetensors", "onnx", "torch-export"), re.findall(r"```python\n(.*?)```", SECTION, re.S), strict=True)
)
OURS = ["videogpt", "videogpt_tokenizer", "videogpt_kernels", "einops", "lightning", "vector_quantize_pytorch"]


@pytest.fixture(scope="module")
def tiny_tokenizer(make_tokenizer) -> Callable[..., VideoTokenizer]:
    """With states in both directions; learned codebooks have seen some latents."""

    def make(kind: str = "fsq") -> VideoTokenizer:
        quantizer = {"kind": kind, "codebook_size": 16, "stages": 2}
        network = {"widths": (16, 32), "encoder_context": "wide", "remembers": True}
        tokenizer = make_tokenizer(levels=(8, 5, 5), quantizer=quantizer, **network)
        tokenizer.quantizer.train()(torch.randn(2, 1, 8, 8, tokenizer.quantizer.dim))
        return tokenizer.eval()

    return make


@pytest.fixture(scope="module")
def workplace(tiny_tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the README's commands have run."""
    folder = tmp_path_factory.mktemp("export")
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder / "runs/tiny-tokenizer/pretrained")
    video = torch.rand(1, 3, 17, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    codes = tokenizer.encode(video)
    for name, tensor in (("video", video), ("codes", codes), ("pixels", tokenizer.decode(codes))):
        np.save(folder / f"{name}.npy", tensor.numpy())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert [main(command) for command in COMMANDS] == [0, 0, 0]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "missing"),
    [("safetensors", [*OURS, "safetensors", "onnx"]), ("onnx", [*OURS, "torch", "onnx"]), ("torch-export", OURS)],
)
def test_the_readme_program_gives_the_same_codes_and_pixels(kind, missing, workplace, run_python):
    """The one of ONNX goes step by step with onnxruntime and numpy alone."""
    take = "numpy.load('video.npy')" if kind == "onnx" else "torch.from_numpy(numpy.load('video.npy'))"
    give = "numpy.save('out_codes.npy', codes); numpy.save('out_pixels.npy', pixels)"
    imports = "import numpy" if kind == "onnx" else "import numpy, torch; torch.set_grad_enabled(False)"
    run_python(f"{imports}\nvideo = {take}\n{PROGRAMS[kind]}\n{give}", without=missing, cwd=workplace)
    assert np.array_equal(np.load(workplace / "out_codes.npy"), np.load(workplace / "codes.npy"))
    assert np.abs(np.load(workplace / "out_pixels.npy") - np.load(workplace / "pixels.npy")).max() <= 1e-4


@pytest.mark.slow
def test_whole_clips_in_onnxruntime_and_numpy_alone(workplace, run_python):
    """And decoding in steps; sizes and batch are others than those of the export."""
    program = """
import numpy, onnxruntime
def run(name, **inputs):
    return onnxruntime.InferenceSession(f"exported/onnx/{name}.onnx").run(None, inputs)
codes, pixels = numpy.load("codes.npy"), numpy.load("pixels.npy")
video = numpy.load("video.npy").repeat(3, axis=0)
assert all(numpy.array_equal(row, codes[0]) for row in run("encoder", video=video)[0])
frame, *states = run("decoder", codes=codes[:, :1])
rest, *states = run("decoder_step", codes=codes[:, 1:], **{f"state_{i}": s for i, s in enumerate(states)})
assert numpy.abs(numpy.concatenate([frame, rest], axis=2) - pixels).max() <= 1e-4
"""
    run_python(program, without=[*OURS, "torch", "onnx"], cwd=workplace)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_manifest_is_true_and_no_file_names_this_machine(kind, workplace, tiny_tokenizer):
    folder = workplace / "exported" / kind
    manifest = json.loads((folder / "manifest.json").read_text())
    tokenizer = tiny_tokenizer()
    assert manifest["tokenizer"]["fingerprint"] == tokenizer.fingerprint()
    assert (manifest["tokenizer"]["levels"], manifest["tokenizer"]["codebook_size"]) == ([8, 5, 5], 200)
    assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert {graph["file"] for graph in manifest["graphs"].values()} <= set(manifest["files"])
    for path in folder.iterdir():
        data = path.read_bytes()
        if path.name != "manifest.json":
            assert hashlib.sha256(data).hexdigest() == manifest["files"][path.name]["sha256"]
        for here in (str(ROOT), str(workplace), sys.prefix, str(Path(torch.__file__).parent)):
            assert here.encode() not in data, path


@pytest.mark.slow
def test_onnx_files_say_of_themselves_what_the_manifest_says(workplace):
    import onnxruntime

    folder = workplace / "exported" / "onnx"
    for graph in json.loads((folder / "manifest.json").read_text())["graphs"].values():
        session = onnxruntime.InferenceSession(folder / graph["file"])
        for ports, found in ((graph["inputs"], session.get_inputs()), (graph["outputs"], session.get_outputs())):
            assert [(port["name"], port["shape"]) for port in ports] == [(port.name, port.shape) for port in found]


@pytest.fixture
def workplace_of_one(tiny_tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tokenizer and nothing else, to be in."""
    monkeypatch.chdir(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return tmp_path


EXPORT = ["export", "tokenizer", "--output", "out", "--format"]


def test_a_folder_that_is_there_is_refused(workplace_of_one, videogpt):
    (workplace_of_one / "out").mkdir()
    said = videogpt(*EXPORT, "safetensors", code=2).err
    assert said == "videogpt: error: out exists already: give another --output, or remove it\n"


@pytest.mark.parametrize(
    ("kind", "format_"),
    [(kind, "safetensors") for kind in ("vq", "simvq", "lfq", "bsq", "rvq", "rfsq")]
    + [pytest.param("rvq", format_, marks=pytest.mark.slow) for format_ in ("onnx", "torch-export")],
)
def test_every_quantizer_is_exported_and_verified(kind, format_, workplace_of_one, tiny_tokenizer, videogpt):
    tokenizer = tiny_tokenizer(kind)
    tokenizer.save_pretrained(workplace_of_one / "tokenizer")
    videogpt(*EXPORT, format_)
    manifest = json.loads((workplace_of_one / "out" / "manifest.json").read_text())
    about = manifest["tokenizer"]
    assert (about["quantizer"], about["stages"]) == (kind, tokenizer.stages)
    assert about["stage_sizes"] == list(tokenizer.quantizer.stage_sizes)
    assert about["fingerprint"] == tokenizer.fingerprint() and about["codebook_size"] == tokenizer.codebook_size
    assert about["levels"] == ([8, 5, 5] if kind == "rfsq" else None)
    assert manifest["verification"]["codes"] > 100


@pytest.mark.parametrize(("chunk", "said"), [("encode_chunk", "codes differ"), ("decode_chunk", "pixels differ")])
def test_files_that_differ_from_the_tokenizer_do_not_appear(chunk, said, workplace_of_one, monkeypatch, videogpt):
    source = Path(loader_file.standalone.__file__).read_text()
    spoiled = source.replace("return ((bounded.round()", "return ((bounded.floor()")
    if chunk == "decode_chunk":
        spoiled = source.replace(".clamp(-1, 1), states", ".clamp(-0.999, 0.999) * 0.99, states")
    assert spoiled != source
    (workplace_of_one / "spoiled.py").write_text(spoiled)
    monkeypatch.setattr(loader_file.standalone, "__file__", str(workplace_of_one / "spoiled.py"))
    assert said in videogpt(*EXPORT, "safetensors", code=2).err
    assert sorted(path.name for path in workplace_of_one.iterdir()) == ["spoiled.py", "tokenizer"]


def spoil_long_steps(name: str, result: torch.Tensor) -> torch.Tensor:
    time, least = (1, 3) if name.startswith("encoder") else (2, 12)
    return result * 0 if "_" in name and result.shape[time] >= least else result


SPOILT = {
    "differ by nan": lambda name, result: result * torch.nan if name.startswith("decoder") else result,
    "give .* and not": lambda name, result: result[:, :, :1, :1] if name.startswith("encoder") else result,
    "codes differ": spoil_long_steps,
}


@pytest.mark.parametrize("said", SPOILT)
def test_what_compares_as_equal_and_is_not_is_found(said, tiny_tokenizer):
    tokenizer = tiny_tokenizer()
    graphs = export_graphs.make_graphs(loader_file.standalone_of(tokenizer))

    @torch.no_grad()
    def run(name: str, inputs: list[torch.Tensor], spoil=lambda name, result: result) -> list[torch.Tensor]:
        result, *states = graphs[name](*inputs)
        return [spoil(name, result), *states]

    assert export.verify(run, tokenizer, 1e-5).codes > 100
    with pytest.raises(ValueError, match=said):
        export.verify(partial(run, spoil=SPOILT[said]), tokenizer, 1e-5)


def test_inspect_knows_an_export_and_what_is_wrong_with_it(workplace_of_one, videogpt):
    videogpt(*EXPORT, "safetensors")
    assert "out: video tokenizer exported as safetensors, 200 codes" in videogpt("inspect", "out").out
    (workplace_of_one / "out" / "load_tokenizer.py").write_text("import os\n")
    (workplace_of_one / "out" / "config.json").unlink()
    said = videogpt("inspect", "out", code=2).err
    assert "out/config.json is missing; out/load_tokenizer.py is truncated or altered" in said
    manifest = workplace_of_one / "out" / "manifest.json"
    elsewhere = manifest.read_text().replace('"config.json": {', '"../tokenizer/config.json": {')
    empty = '{"format": "videogpt-tokenizer-export"}'
    for text, said in ((elsewhere, "names files elsewhere"), (empty, "is not complete ('tokenizer')")):
        manifest.write_text(text)
        assert said in videogpt("inspect", "out", code=2).err


def test_a_missing_package_is_named(workplace_of_one, monkeypatch, videogpt):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    missing = "onnxruntime is not installed: pip install 'videogpt-lm[export]'"
    assert missing in videogpt(*EXPORT, "onnx", code=2).err


def test_an_axis_reads_as_a_size():
    axes = [export_graphs.Axis("time", 4, -3), export_graphs.Axis("height", 8), export_graphs.Axis("time")]
    assert [str(axis) for axis in axes] == ["4*time - 3", "8*height", "time"]


def test_what_is_promised_of_codes_is_what_was_checked(tiny_tokenizer, tmp_path: Path, videogpt):
    """Of clips that the check has not seen nothing is promised."""
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    printed = videogpt("export", tmp_path / "tokenizer", "--format", "safetensors", "--output", tmp_path / "out").out
    (line,) = [line for line in printed.splitlines() if line.startswith("verified with ")]
    assert export.PROMISE in line and "identical" not in line and "of other clips one differs now and then" in line
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["verification"]["promise"] == export.PROMISE
