"""Who is refused is told what: each refusal in a function that is given a file names it, or the setting at fault."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("videogpt/**/*.py"), *ROOT.glob("tokenizer/videogpt_tokenizer/**/*.py")])
ABOUT_SOMETHING_ELSE = {
    "shards.read_lines": "inside of `_naming(path)`, which names it",
    "pretrained.describe_export": "inside of its own `try`, which names the folder",
    "exported_model.export_model": "a package is missing, or the model is at fault, which is no file",
    "graphs._write_onnx": "a package is missing",
    "reconstruction.reconstruct": "an output is missing",
    "resume.choose_start": "the run's folder is missing",
}


def names_in(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def refusals(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, ast.Raise, set[str]]]:
    """Each `raise` of a ValueError or OSError in a function that is given a file, and the names that tell of what it
    was given."""
    for function in (part for part in ast.walk(tree) if isinstance(part, ast.FunctionDef)):
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        types = [ast.unparse(one.annotation) for one in arguments if one.annotation]
        if not any(kind in text for text in types for kind in ("Path", "BinaryIO")):
            continue
        telling = {one.arg for one in arguments}
        for part in ast.walk(function):  # what is made of the arguments tells of them
            if isinstance(part, (ast.Assign, ast.NamedExpr, ast.For)):
                target = part.targets[0] if isinstance(part, ast.Assign) else part.target
                source = part.iter if isinstance(part, ast.For) else part.value
                telling |= names_in(target) if names_in(source) & telling else set()
        for part in ast.walk(function):
            raised = part.exc if isinstance(part, ast.Raise) else None
            if isinstance(raised, ast.Call) and ast.unparse(raised.func) in ("ValueError", "OSError"):
                assert isinstance(part, ast.Raise)
                yield function, part, telling


def nameless(tree: ast.Module, module: str) -> list[str]:
    """Those that tell of nothing."""
    return [
        f"{module}.{function.name}, line {refusal.lineno}: {ast.unparse(refusal)[:100]}"
        for function, refusal, telling in refusals(tree)
        if f"{module}.{function.name}" not in ABOUT_SOMETHING_ELSE and not names_in(refusal) & telling
    ]


def test_every_refusal_names_what_it_is_about() -> None:
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}
    assert sum(len(list(refusals(tree))) for tree in trees.values()) > 100
    assert not [line for path, tree in trees.items() for line in nameless(tree, path.stem)]


@pytest.mark.parametrize("message, names_it", [('f"{path}: no"', True), ('"no"', False), ('f"{other}: no"', False)])
def test_a_refusal_without_a_name_is_found(message: str, names_it: bool) -> None:
    tree = ast.parse(f"def read(path: Path) -> None:\n    raise ValueError({message})")
    assert bool(nameless(tree, "module")) is not names_it
