"""`videogpt export` of a model: the README's program draws the model's codes where nothing else is installed."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from videogpt.cli import main
from videogpt.layouts.task import Example
from videogpt.pipeline import exported_model
from videogpt.pipeline.exported_model import FOLDER_NAME, export_model
from videogpt.pipeline.saved_model import load_model
from videogpt.sampling.config import SamplingConfig
from videogpt.sampling.sampler import sample_frames
from videogpt_tokenizer.files.checksums import sha256_of

ROOT = Path(__file__).parents[3]
SECTION = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Export")[2]
(PROGRAM,) = re.findall(r"```python\n(.*?)```", SECTION.partition("## Figures")[0], re.S)
PROMPT = "a red circle moves left"
NEEDLESS = ["torch", "onnx", "videogpt", "videogpt_tokenizer", "videogpt_kernels", "einops", "lightning"]


@pytest.fixture(scope="module")
def exported(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an exported model, inside of one as the README has it. Leave it so."""
    folder = tmp_path_factory.mktemp("exported")
    assert main(["export", str(model_folder), "--format", "onnx", "--output", str(folder / "exported/shapes")]) == 0
    return folder / "exported/shapes"


@pytest.mark.slow
def test_the_program_of_the_readme_draws_the_likeliest_codes(exported: Path, model_folder: Path, run_python) -> None:
    assert f'encode("{PROMPT}")' in PROGRAM
    model = load_model(model_folder)
    examples, greedy = [Example(model.text_tokenizer.encode(PROMPT))], SamplingConfig(temperature=0.0)
    frames = sample_frames(model.network, model.task, greedy, examples, [0], model.task.config.latent_frames)
    program = f"{PROGRAM}\nnumpy.save('codes.npy', codes)"
    run_python(program, without=NEEDLESS, cwd=exported.parents[1])
    found = np.load(exported.parents[1] / "codes.npy")
    assert np.array_equal(found, torch.stack(list(frames), dim=1).numpy())


@pytest.mark.slow
def test_the_manifest_is_true(exported: Path, model_folder: Path) -> None:
    import onnxruntime

    folder, model = exported / FOLDER_NAME, load_model(model_folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {name: file["sha256"] for name, file in manifest["files"].items()} == {
        path.name: sha256_of(path) for path in folder.iterdir() if path.name != "manifest.json"
    }
    assert manifest["model"]["tokenizer"] == model.tokenizer.fingerprint()
    assert manifest["model"]["layout"] == model.task.config.settings()
    video = model.task.vocabulary.ids["video"]
    assert manifest["ids"]["video"] == [video.start, video.stop]
    assert manifest["ids"]["text"][0] == int(model.task.vocabulary.to_ids("text", torch.tensor(0)))
    session = onnxruntime.InferenceSession(folder / "step.onnx")
    names = {name.name for name in (*session.get_inputs(), *session.get_outputs())}
    stated = {*manifest["step"]["inputs"], *manifest["step"]["outputs"]}
    assert {re.sub(r"\d+$", "L", name) for name in names} == stated
    assert manifest["verification"]["codes"] == len(exported_model.CHECKED) * 18


@pytest.mark.slow
def test_inspect_knows_it_and_what_is_wrong_with_it(exported: Path, tmp_path: Path, videogpt) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(exported / FOLDER_NAME, folder)
    assert "language model exported as onnx" in videogpt("inspect", folder).out
    (folder / "step.onnx").write_bytes(b"")
    assert "step.onnx is truncated or altered" in videogpt("inspect", folder, code=2).err


def test_a_file_that_draws_other_codes_is_refused(tiny_model, tmp_path: Path, monkeypatch) -> None:
    """Cosine and sine have changed places."""
    from videogpt.model import onnx_step

    spoiled = onnx_step._StepGraph._rotation
    monkeypatch.setattr(onnx_step._StepGraph, "_rotation", lambda self: spoiled(self)[::-1])
    with pytest.raises(ValueError, match="exported codes differ from the model's: do not use them"):
        export_model(tiny_model, tmp_path)


def test_a_missing_package_is_named(tiny_model, tmp_path: Path, monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "videogpt.model.onnx_step", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match="is not installed: pip install"):
        export_model(tiny_model, tmp_path)


def test_a_head_by_level_has_no_logits_to_export(tiny_model, tmp_path: Path) -> None:
    import dataclasses

    from videogpt.model.network import VideoGPT

    start = tiny_model.task.vocabulary.ids["video"].start
    by_level = dataclasses.replace(tiny_model.network.config, head="levels", code_levels=(5, 5, 3), code_start=start)
    model = dataclasses.replace(tiny_model, network=VideoGPT(by_level).eval())
    with pytest.raises(ValueError, match="predicts codes by level"):
        export_model(model, tmp_path)
