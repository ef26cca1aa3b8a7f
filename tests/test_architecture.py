"""The house stands as drawn: arrows point down, ground floors need little, files are small, pins are pins."""

import ast
import importlib
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "videogpt": ROOT / "videogpt",
    "videogpt_tokenizer": ROOT / "tokenizer" / "videogpt_tokenizer",
    "videogpt_kernels": ROOT / "kernels" / "videogpt_kernels",
}
MODULES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))
SOURCES = sorted([*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
MAX_LINES = 500


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def run_without(missing: list[str], program: str) -> None:
    """Run a program in a fresh interpreter in which the modules `missing` are as if not installed."""
    block = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
    done = subprocess.run([sys.executable, "-c", block + program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_arrows_run_downward():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]  # in process it disables all loggers
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_kernels_do_without_triton():
    run_without(
        ["triton", "lightning", "av", "sentencepiece", "videogpt", "videogpt_tokenizer"],
        """
import torch, videogpt_kernels.attention
from videogpt_kernels import Visibility, attention  # the function, even where the module came first
query_BHMD = torch.randn(1, 2, 3, 4)
assert attention(query_BHMD, query_BHMD, query_BHMD, Visibility.causal(1)).shape == query_BHMD.shape
""",
    )


def test_video_tokenizer_needs_only_torch_einops_and_safetensors():
    run_without(
        ["av", "sentencepiece", "lightning", "vector_quantize_pytorch", "torchvision", "scipy", "tensorboard"]
        + ["videogpt", "videogpt_kernels"],
        """
import torch
from videogpt_tokenizer import Clip, ClipFolder, TokenizerConfig, VideoTokenizer
tokenizer = VideoTokenizer(TokenizerConfig())
tokenizer.decode(tokenizer.encode(torch.zeros(1, 3, 1, 32, 32)))
""",
    )


def test_importing_the_command_line_is_light():
    heavy = ["torch", "lightning", "jsonargparse", "av", "scipy", "sentencepiece", "tensorboard"]
    run_without(heavy, "import videogpt.cli, videogpt_tokenizer")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_what_they_say(package: str):
    module = importlib.import_module(package)
    assert [getattr(module, name).__name__ for name in module.__all__] == list(module.__all__)
    assert set(module.__all__) <= set(dir(module)) and not hasattr(module, "no_such_name")


@pytest.mark.parametrize("folder", ["kernels", "tokenizer"])
def test_outer_folders_are_no_packages(folder: str):
    """As packages they would shadow, or be overwritten by, other distributions of those names."""
    assert (ROOT / folder).is_dir() and not (ROOT / folder / "__init__.py").exists()


def test_files_stay_small():
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_every_module_says_what_it_is():
    silent = [name_of(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


def test_the_maps_of_the_files_are_current():
    command = [sys.executable, str(ROOT / "tests" / "house_map.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_pins_are_exact_and_name_no_host_and_no_path():
    for pin in pins():
        assert pin.url is None and re.fullmatch(r"==[0-9][0-9a-z.]*", str(pin.specifier)), str(pin)


def test_every_dependency_is_pinned_within_its_bounds():
    versions = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins()
        if pin.marker is None or pin.marker.evaluate()
    }
    for wanted in map(Requirement, requires("videogpt-lm") or []):
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), str(wanted)
