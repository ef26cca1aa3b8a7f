"""The rooms of the house: no circles, no name twice, no crowded folder, and every test where its module would look.

import-linter holds the arrows between rooms (`make lint`); what it cannot say is here.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "videogpt": ROOT / "videogpt",
    "videogpt_tokenizer": ROOT / "tokenizer" / "videogpt_tokenizer",
    "videogpt_kernels": ROOT / "kernels" / "videogpt_kernels",
}
TESTS = {"videogpt": "videogpt", "tokenizer": "videogpt_tokenizer", "kernels": "videogpt_kernels"}
"""Folder of tests of each package."""
MOST_MODULES = 12
SAID_TWICE = {"add_arguments", "run", "logger", "log"}
"""What every command has, and every module that logs."""
EQUIVALENCE = re.compile(r"test_\w+_(equals?|are|is|come)_\w+")
"""Tests of what holds across modules say what that is: `test_pieces_equal_the_whole.py`."""


def modules_of(package: str) -> dict[str, Path]:
    """Every module of a package by its dotted name."""
    folder = PACKAGES[package]
    parts = {path: path.relative_to(folder).with_suffix("").parts for path in folder.rglob("*.py")}
    return {".".join([package, *inner]).removesuffix(".__init__"): path for path, inner in parts.items()}


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The known modules that a file imports, anywhere in it, for types alone too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & known


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_import_each_other(package: str) -> None:
    modules = modules_of(package)
    names = set(modules) - {package}  # whose public names are imported at first use
    graph = {name: imports_of(modules[name], names) - {name} for name in names}
    # A package's own file is imported with each of its modules, and imports only what stands below these.
    graph = {name: {other for other in seen if not name.startswith(f"{other}.")} for name, seen in graph.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def public_names(path: Path) -> Iterator[str]:
    """Classes, functions and constants that a module defines under names without an underscore."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_defined_twice(package: str) -> None:
    places = defaultdict(set)
    for module, path in modules_of(package).items():
        for name in public_names(path):
            if not name.startswith("_") and name not in SAID_TWICE:
                places[name].add(module)
    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}


def test_pipeline_sees_of_runs_only_the_names_of_its_folder() -> None:
    seen = {
        other
        for name, path in modules_of("videogpt").items()
        if name.startswith("videogpt.pipeline")
        for other in imports_of(path, set(modules_of("videogpt")))
        if other.startswith("videogpt.runs.")
    }
    assert seen <= {"videogpt.runs.folder"}


@pytest.mark.parametrize("package", ["videogpt", "videogpt_tokenizer"])
def test_no_folder_is_crowded(package: str) -> None:
    counts = defaultdict(int)
    for path in modules_of(package).values():
        counts[path.parent.relative_to(ROOT).as_posix()] += path.stem != "__init__"
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_every_test_mirrors_a_module_or_names_an_equivalence() -> None:
    lost = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder, *inner = path.relative_to(ROOT / "tests").parts
        if not inner:
            continue  # of the whole house
        *rooms, name = inner
        module = PACKAGES[TESTS[folder]].joinpath(*rooms, name.removeprefix("test_"))
        if not module.is_file() and not EQUIVALENCE.fullmatch(path.stem):
            lost.append(path.relative_to(ROOT).as_posix())
    assert lost == []
