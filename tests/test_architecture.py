"""The house stands as drawn: arrows point down, ground floors need little, rooms are small, pins are exact.

import-linter holds the arrows between rooms (`make lint`); what it cannot say is here.
"""

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FOLDERS = {"videogpt": "videogpt", "tokenizer": "tokenizer/videogpt_tokenizer", "kernels": "kernels/videogpt_kernels"}
"""Of each package's modules, by the folder of its tests."""
PACKAGES = {Path(folder).name: ROOT / folder for folder in FOLDERS.values()}
every_package = pytest.mark.parametrize("package", PACKAGES)
MAX_LINES, MOST_MODULES = 500, 12
SAID_TWICE = {"add_arguments", "run", "logger", "log"}
"""What every command has, and every module that logs."""
EQUIVALENCE = re.compile(r"test_\w+_(equals?|are|is|come)_\w+")
"""Tests of what holds across modules say what that is: `test_pieces_equal_the_whole.py`."""


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def modules_of(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    paths = PACKAGES[package].rglob("*.py")
    inner = {path: path.relative_to(PACKAGES[package].parent).with_suffix("").parts for path in paths}
    return {".".join(parts).removesuffix(".__init__"): path for path, parts in inner.items()}


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The known modules that a file imports, anywhere in it, for types alone too."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & known


def public_names(path: Path) -> Iterator[str]:
    """Classes, functions and constants that a module defines under names without an underscore."""
    for node in tree_of(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


def succeeds(*command: object) -> None:
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def run_without(missing: list[str], program: str) -> None:
    """Run a program in a fresh interpreter in which the modules `missing` are as if not installed."""
    succeeds(sys.executable, "-c", f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n{program}")


def test_arrows_run_downward():
    succeeds(Path(sys.executable).parent / "lint-imports", "--no-cache")  # in process it disables all loggers


def test_the_maps_of_the_files_are_current():
    succeeds(sys.executable, "tests/house_map.py", "--check")


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


@every_package
def test_public_names_are_what_they_say(package: str):
    module = importlib.import_module(package)
    assert [getattr(module, name).__name__ for name in module.__all__] == list(module.__all__)
    assert set(module.__all__) <= set(dir(module)) and not hasattr(module, "no_such_name")


@every_package
def test_no_public_name_is_defined_twice(package: str):
    places = defaultdict(set)
    for module, path in modules_of(package).items():
        for name in public_names(path):
            if not name.startswith("_") and name not in SAID_TWICE:
                places[name].add(module)
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}


@every_package
def test_no_files_import_each_other(package: str):
    modules = modules_of(package)
    names = set(modules) - {package}  # whose public names are imported at first use
    graph = {name: imports_of(modules[name], names) - {name} for name in names}
    # A package's own file is imported with each of its modules, and imports only what stands below these.
    graph = {name: {other for other in seen if not name.startswith(f"{other}.")} for name, seen in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_pipeline_sees_of_runs_only_the_names_of_its_folder():
    modules = modules_of("videogpt")
    paths = [path for name, path in modules.items() if name.startswith("videogpt.pipeline")]
    seen = set().union(*(imports_of(path, set(modules)) for path in paths))
    assert {name for name in seen if name.startswith("videogpt.runs.")} <= {"videogpt.runs.folder"}


@pytest.mark.parametrize("folder", ["kernels", "tokenizer"])
def test_outer_folders_are_no_packages(folder: str):
    """As packages they would shadow, or be overwritten by, other distributions of those names."""
    assert (ROOT / folder).is_dir() and not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("package", ["videogpt", "videogpt_tokenizer"])
def test_no_folder_is_crowded(package: str):
    modules = [path for path in modules_of(package).values() if path.stem != "__init__"]
    counts = Counter(name_of(path.parent) for path in modules)
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_files_stay_small():
    folders = [*PACKAGES.values(), ROOT / "tests", ROOT / "benchmarks"]
    sources = [path for folder in folders for path in folder.rglob("*.py")]
    lines = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


@every_package
def test_every_module_says_what_it_is(package: str):
    assert [name for name, path in modules_of(package).items() if not ast.get_docstring(tree_of(path))] == []


def test_every_test_mirrors_a_module_or_names_an_equivalence():
    lost = []
    for path in (ROOT / "tests").glob("*/**/test_*.py"):  # those directly in tests/ are of the whole house
        folder, *inner = path.relative_to(ROOT / "tests").parts
        module = ROOT.joinpath(FOLDERS[folder], *inner).with_name(path.name.removeprefix("test_"))
        if not module.is_file() and not EQUIVALENCE.fullmatch(path.stem):
            lost.append(name_of(path))
    assert lost == []


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
