"""`videogpt export`: the commands and programs of the tokenizer's README, run where nothing else is installed."""

import hashlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.cli import main
from videogpt_tokenizer.export import export, loader_file
from videogpt_tokenizer.export import graphs as export_graphs
from videogpt_tokenizer.network.autoencoder import AutoencoderConfig
from videogpt_tokenizer.quantizers.config import QuantizerConfig
from videogpt_tokenizer.video_tokenizer import TokenizerConfig, VideoTokenizer

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "tokenizer" / "README.md").read_text(encoding="utf-8").partition("## Export")[2]
COMMANDS = [shlex.split(line)[1:] for line in SECTION.splitlines() if line.startswith("videogpt export")]
PROGRAMS = dict(
    zip(("safetensors", "onnx", "torch-export"), re.findall(r"```python\n(.*?)```", SECTION, re.S), strict=True)
)
OURS = ["videogpt", "videogpt_tokenizer", "videogpt_kernels", "einops", "lightning", "vector_quantize_pytorch"]


def tiny_tokenizer(kind: str = "fsq") -> VideoTokenizer:
    """With states in both directions, and mixes over time (zero at the start of training) that matter."""
    torch.manual_seed(0)
    network = AutoencoderConfig(widths=(16, 32), encoder_depth=1, decoder_depth=1, encoder_context="wide")
    quantizer = QuantizerConfig(kind=kind, levels=(8, 5, 5), codebook_size=16, stages=2)
    tokenizer = VideoTokenizer(TokenizerConfig(autoencoder=network, quantizer=quantizer))
    tokenizer.quantizer.train()(torch.randn(2, 1, 8, 8, tokenizer.quantizer.dim))  # learned codebooks start here
    for name, parameter in tokenizer.named_parameters():
        if "mix" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return tokenizer.eval()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def blocking(names: list[str]) -> str:
    """The start of a program in which the modules of these names, and all inside them, are as if not installed."""
    return f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocker())
"""


def run_in(folder: Path, program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "missing"),
    [("safetensors", [*OURS, "safetensors", "onnx"]), ("onnx", [*OURS, "torch", "onnx"]), ("torch-export", OURS)],
)
def test_the_readme_program_gives_the_same_codes_and_pixels(kind, missing, workplace):
    """The one of ONNX goes step by step with onnxruntime and numpy alone."""
    take = "numpy.load('video.npy')" if kind == "onnx" else "torch.from_numpy(numpy.load('video.npy'))"
    give = "numpy.save('out_codes.npy', codes); numpy.save('out_pixels.npy', pixels)"
    imports = "import numpy" if kind == "onnx" else "import numpy, torch; torch.set_grad_enabled(False)"
    program = f"{imports}\nvideo = {take}\n{PROGRAMS[kind]}\n{give}"
    run_in(workplace, blocking(missing) + program)
    assert np.array_equal(np.load(workplace / "out_codes.npy"), np.load(workplace / "codes.npy"))
    assert np.abs(np.load(workplace / "out_pixels.npy") - np.load(workplace / "pixels.npy")).max() <= 1e-4


@pytest.mark.slow
def test_whole_clips_in_onnxruntime_and_numpy_alone(workplace):
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
    run_in(workplace, blocking([*OURS, "torch", "onnx"]) + program)


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_manifest_is_true_and_no_file_names_this_machine(kind, workplace):
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


def test_a_folder_that_is_there_is_refused(workplace_of_one, capsys):
    (workplace_of_one / "out").mkdir()
    assert main(["export", "tokenizer", "--format", "safetensors", "--output", "out"]) == 2
    assert capsys.readouterr().err == "videogpt: error: out exists already: give another --output, or remove it\n"


OTHERS = ["vq", "simvq", "lfq", "bsq", "rvq", "rfsq"]


@pytest.mark.parametrize(
    ("kind", "format_"),
    [(kind, "safetensors") for kind in OTHERS]
    + [pytest.param("rvq", format_, marks=pytest.mark.slow) for format_ in ("onnx", "torch-export")],
)
def test_every_quantizer_is_exported_and_verified(kind, format_, workplace_of_one):
    tokenizer = tiny_tokenizer(kind)
    tokenizer.save_pretrained(workplace_of_one / "other")
    assert main(["export", "other", "--format", format_, "--output", "out"]) == 0
    manifest = json.loads((workplace_of_one / "out" / "manifest.json").read_text())
    about = manifest["tokenizer"]
    assert (about["quantizer"], about["stages"]) == (kind, tokenizer.stages)
    assert about["stage_sizes"] == list(tokenizer.quantizer.stage_sizes)
    assert about["fingerprint"] == tokenizer.fingerprint() and about["codebook_size"] == tokenizer.codebook_size
    assert about["levels"] == ([8, 5, 5] if kind == "rfsq" else None)
    assert manifest["verification"]["codes"] > 100


@pytest.mark.parametrize(("chunk", "said"), [("encode_chunk", "codes differ"), ("decode_chunk", "pixels differ")])
def test_files_that_differ_from_the_tokenizer_do_not_appear(chunk, said, workplace_of_one, monkeypatch, capsys):
    source = Path(loader_file.standalone.__file__).read_text()
    spoiled = source.replace("return ((bounded.round()", "return ((bounded.floor()")
    if chunk == "decode_chunk":
        spoiled = source.replace(".clamp(-1, 1), states", ".clamp(-0.999, 0.999) * 0.99, states")
    assert spoiled != source
    (workplace_of_one / "spoiled.py").write_text(spoiled)
    monkeypatch.setattr(loader_file.standalone, "__file__", str(workplace_of_one / "spoiled.py"))
    assert main(["export", "tokenizer", "--format", "safetensors", "--output", "out"]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in workplace_of_one.iterdir()) == ["spoiled.py", "tokenizer"]


def spoiled_run(tokenizer: VideoTokenizer, spoil: str):
    """What runs the graphs of a sound export, but for one fault."""
    graphs = export_graphs.make_graphs(loader_file.standalone_of(tokenizer))

    @torch.no_grad()
    def run(name: str, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        result, *states = graphs[name](*inputs)
        half, step = name.partition("_")[::2]
        is_long = result.shape[1] >= 3 if half == "encoder" else result.shape[2] >= 12
        if (half, spoil) == ("decoder", "NaN"):
            result = result * torch.nan
        elif (half, spoil) == ("encoder", "shape"):
            result = result[:, :, :1, :1]
        elif spoil == "long steps" and step and is_long:
            result = result * 0
        return [result, *states]

    return run


@pytest.mark.parametrize(
    ("spoil", "said"), [("NaN", "differ by nan"), ("shape", r"give .* and not"), ("long steps", "codes differ")]
)
def test_what_compares_as_equal_and_is_not_is_found(spoil, said):
    tokenizer = tiny_tokenizer()
    assert export.verify(spoiled_run(tokenizer, "nothing"), tokenizer, 1e-5).codes > 100
    with pytest.raises(ValueError, match=said):
        export.verify(spoiled_run(tokenizer, spoil), tokenizer, 1e-5)


def test_inspect_knows_an_export_and_what_is_wrong_with_it(workplace_of_one, capsys):
    assert main(["export", "tokenizer", "--format", "safetensors", "--output", "out"]) == 0
    assert main(["inspect", "out"]) == 0
    assert "out: video tokenizer exported as safetensors, 200 codes" in capsys.readouterr().out
    (workplace_of_one / "out" / "load_tokenizer.py").write_text("import os\n")
    (workplace_of_one / "out" / "config.json").unlink()
    assert main(["inspect", "out"]) == 2
    said = capsys.readouterr().err
    assert "out/config.json is missing; out/load_tokenizer.py is truncated or altered" in said
    manifest = workplace_of_one / "out" / "manifest.json"
    elsewhere = manifest.read_text().replace('"config.json": {', '"../tokenizer/config.json": {')
    empty = '{"format": "videogpt-tokenizer-export"}'
    for text, said in ((elsewhere, "names files elsewhere"), (empty, "is not complete ('tokenizer')")):
        manifest.write_text(text)
        assert main(["inspect", "out"]) == 2
        assert said in capsys.readouterr().err


def test_a_missing_package_is_named(workplace_of_one, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "tokenizer", "--format", "onnx", "--output", "out"]) == 2
    assert "onnxruntime is not installed: pip install 'videogpt-lm[export]'" in capsys.readouterr().err


def test_an_axis_reads_as_a_size():
    axes = [export_graphs.Axis("time", 4, -3), export_graphs.Axis("height", 8), export_graphs.Axis("time")]
    assert [str(axis) for axis in axes] == ["4*time - 3", "8*height", "time"]


@pytest.fixture
def workplace_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tokenizer and nothing else, to be in."""
    monkeypatch.chdir(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return tmp_path


def test_what_is_promised_of_codes_is_what_was_checked(workplace_of_one, capsys):
    """Of clips that the check has not seen nothing is promised."""
    assert main(["export", "tokenizer", "--format", "safetensors", "--output", "out"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verified with ")]
    assert export.PROMISE in line and "identical" not in line and "of other clips one differs now and then" in line
    assert (
        json.loads((workplace_of_one / "out" / "manifest.json").read_text())["verification"]["promise"]
        == export.PROMISE
    )
