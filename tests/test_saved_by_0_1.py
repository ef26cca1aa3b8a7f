"""What version 0.1 saved still loads and goes on: `saved_by_0_1/` holds files that it wrote, as it wrote them.

A tokenizer's run and a model's (checkpoint, `config.yaml` with the names that classes had, `pretrained/`), the token
shards that the model learned from, and codes of whole clips.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from videogpt import Pipeline, SamplingConfig
from videogpt.cli import main
from videogpt.inspection.inspect import inspect_path
from videogpt_tokenizer import VideoTokenizer

SAVED = Path(__file__).with_name("saved_by_0_1")
EXPECTED = json.loads((SAVED / "expected.json").read_text())
PROMPT = "a red circle moves left"
FOLDERS = {  # what was saved: what reads it
    "run/pretrained": Pipeline.from_pretrained,
    "tokenizer-run/pretrained": VideoTokenizer.from_pretrained,
    "run/pretrained/tokenizer": VideoTokenizer.from_pretrained,
    "shards": inspect_path,
    "clip-codes": inspect_path,
}


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in."""
    folder = tmp_path / "saved"
    shutil.copytree(SAVED, folder)
    monkeypatch.chdir(folder)
    return folder


def written_by(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file that says what a folder holds, and what it says."""
    (file,) = (folder / name for name in ("config.json", "manifest.json") if (folder / name).is_file())
    return file, json.loads(file.read_text())


def test_the_model_loads_and_draws_the_same_codes(saved: Path) -> None:
    pipeline = Pipeline.from_pretrained("run/pretrained", "cpu")
    assert pipeline.fingerprint() == EXPECTED["fingerprint"]
    assert pipeline.model.tokenizer.fingerprint() == EXPECTED["tokenizer"]
    (clip,) = pipeline(PROMPT, sampling=SamplingConfig(temperature=0.0))
    codes_THW = torch.tensor(EXPECTED[f"likeliest codes of {PROMPT!r}"]).view(1, 3, 2, 2)
    expected_CTHW = pipeline.model.tokenizer.decode(codes_THW)[0]
    torch.testing.assert_close(clip.video_CTHW(), expected_CTHW, atol=1 / 127, rtol=0)


@pytest.mark.parametrize("place", [*FOLDERS, "run", "tokenizer-run", "run/text.model", "run/checkpoints/last.ckpt"])
def test_inspect_knows_it(place: str, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", place]) == 0


def test_codes_of_whole_clips_become_clips(saved: Path) -> None:
    tokenizer = "tokenizer-run/pretrained"
    assert main(["detokenize", "clip-codes", "--tokenizer", tokenizer, "--output", "clips-again"]) == 0
    assert len(list(Path("clips-again").glob("*.mp4"))) == 6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "run, flags, model, data",
    [
        ("run", ["--resume", "must", "--trainer.max_steps", "4"], "videogpt.VideoGPTTraining", "videogpt.TokenData"),
        ("tokenizer-run", ["--resume=must", "--trainer.max_steps=4"], "videogpt_tokenizer.TokenizerTraining",
         "videogpt_tokenizer.ClipDataModule"),
    ],
    ids=["model", "tokenizer"],
)  # fmt: skip
def test_a_run_goes_on_with_its_own_configuration(run: str, flags: list[str], model: str, data: str, saved: Path):
    assert main(["world", "shapes", "--output", "clips", "--clips", "6", "--seed", "1"]) == 0
    assert main(["fit", "--config", f"{run}/config.yaml", *flags]) == 0
    assert torch.load(f"{run}/checkpoints/last.ckpt", weights_only=True)["global_step"] == 4
    config = yaml.safe_load(Path(run, "config.yaml").read_text())
    assert (config["model"]["class_path"], config["data"]["class_path"]) == (model, data)


def test_former_names_are_understood_on_the_command_line(saved: Path) -> None:
    flags = ["--model=videogpt.training.VideoGPTTraining", "--data", "videogpt.token_data.TokenShards"]
    data = ["--data.folder", "shards", "--data.batch_size", "2", "--model.tokenizer", "tokenizer-run/pretrained"]
    trainer = ["--trainer.default_root_dir", "new", "--trainer.max_steps", "1", "--trainer.limit_val_batches", "1"]
    assert main(["fit", *flags, *data, *trainer]) == 0


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_of_0_1_carry_no_version_and_those_of_today_do(folder: str, saved: Path) -> None:
    assert "version" not in written_by(saved / folder)[1]


def test_what_is_written_today_carries_a_version(saved: Path) -> None:
    pipeline = Pipeline.from_pretrained("run/pretrained", "cpu")
    pipeline.save_pretrained("model")
    assert main(["world", "shapes", "--output", "clips", "--clips", "2"]) == 0
    tokenizer = ["--tokenizer", "model"]
    assert main(["tokenize", "clips", *tokenizer, "--output", "new-shards", "--num-frames", "9", "--size", "16"]) == 0
    assert main(["tokenize", "clips", *tokenizer, "--output", "new-codes", "--num-frames", "all", "--size", "16"]) == 0
    for folder in ("model", "model/tokenizer", "new-shards", "new-codes"):
        assert written_by(saved / folder)[1]["version"] >= 1


@pytest.mark.parametrize("version", [0, 99, "2", True])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_later_version_is_refused_in_one_line(folder: str, version: object, saved: Path) -> None:
    path, content = written_by(saved / folder)
    path.write_text(json.dumps(content | {"version": version}))
    with pytest.raises(ValueError, match="version is .* is the newest known") as error:
        FOLDERS[folder](saved / folder)
    assert str(path.relative_to(saved)) in str(error.value) and "\n" not in str(error.value)
