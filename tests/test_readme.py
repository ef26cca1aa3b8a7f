"""The README's commands, run from its top to its end in one folder; only step and clip counts are made small."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from videogpt.cli import main
from videogpt_tokenizer.clips.clip import Clip

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"--clips": "12", "--trainer.max_steps": "3"}


def blocks(language: str, file: Path = ROOT / "README.md") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", file.read_text(encoding="utf-8"), flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("videogpt ")]


def made_small(command: list[str]) -> list[str]:
    given = [SMALL.get(before, word) for before, word in zip(["", *command], command, strict=False)]
    if command[0] == "fit":
        steps = [] if "--trainer.max_steps" in command else ["--trainer.max_steps", "2"]
        given += [*steps, "--trainer.limit_val_batches", "1", "--trainer.enable_model_summary", "false"]
    return given


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """An empty folder with the configs, and a folder of somebody's clips made by another seed of the generator."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(ROOT / "configs", folder / "configs")
    assert main(["world", "shapes", "--output", str(folder / "my_clips"), "--clips", "6", "--seed", "9"]) == 0
    shutil.copy(folder / "my_clips" / "clips" / "000000.mp4", folder / "clip.mp4")
    Clip.read(folder / "clip.mp4", num_frames=1).write(folder / "circle.png")
    box_THWC = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    box_THWC[:, 16:48, 16:48] = 255
    Clip(box_THWC, 1.0).write(folder / "box.png")
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command)[:60])
def test_command(command, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    assert main(made_small(command)) == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.strip().splitlines()[0])
def test_python(code, workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("code", blocks("python", ROOT / "kernels" / "README.md"), ids=["training", "decoding"])
def test_python_of_the_kernels(code: str) -> None:
    exec(compile(code, "kernels/README.md", "exec"), {})


def test_the_test_command_is_the_one_that_ci_runs():
    assert any("make test" in block for block in blocks("bash"))
    assert "make lint types test" in (ROOT / ".ci" / "run").read_text()


def test_no_placeholder_is_left():
    assert "@@" not in README
