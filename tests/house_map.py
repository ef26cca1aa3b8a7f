"""The map of all files: the first docstring line of every module, room by room, in the README of each package.

    python tests/house_map.py            # write the maps anew, as `make map` does
    python tests/house_map.py --check    # exit with 1 and name the READMEs whose map is not current

Refuses a first line that does not stand by itself, and a README without the two marks between which the map lies.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = {  # README with the map: package
    "videogpt/README.md": "videogpt",
    "tokenizer/README.md": "tokenizer/videogpt_tokenizer",
    "kernels/README.md": "kernels/videogpt_kernels",
}
BEGIN = "<!-- map of the files, made by `make map` -->\n"
END = "<!-- end of the map -->\n"


def first_line(path: Path) -> str:
    """What a module says of itself in one line."""
    lines = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()
    if not lines or not lines[0].endswith((".", "?")) or lines[1:2] not in ([], [""]):
        raise ValueError(f"{path}: begin its docstring with one line that says what it is, then an empty one")
    return lines[0]


def map_of(package: Path, readme: Path) -> str:
    """The package's rooms, each with what its `__init__` says, and a table of its modules."""
    rooms = []
    for folder in sorted({path.parent for path in package.rglob("*.py")}):
        name = folder.relative_to(package.parent).as_posix()
        files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
        table = [f"| [`{path.stem}`]({path.relative_to(readme.parent).as_posix()}) | {_cell(path)} |" for path in files]
        heading = f"### `{name}/`\n\n{first_line(folder / '__init__.py')}\n"
        rooms.append("\n".join([heading, "| file | what it is |", "|---|---|", *table, ""] if files else [heading]))
    return "\n" + "\n".join(rooms) + "\n"


def with_map(readme: Path, package: Path) -> str:
    """The README's text with the map as it should be."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} lacks the marks of the map: put in the lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + map_of(package, readme) + end + after


def _cell(path: Path) -> str:
    return first_line(path).replace("|", "\\|")


def main(check: bool) -> int:
    """Write the maps, or only see whether they are current."""
    stale = []
    for name, package in PACKAGES.items():
        readme = ROOT / name
        wanted = with_map(readme, ROOT / package)
        if readme.read_text(encoding="utf-8") != wanted:
            stale.append(name)
            if not check:
                readme.write_text(wanted, encoding="utf-8")
    if stale:
        print(f"not current: {', '.join(stale)}; run make map" if check else f"written: {', '.join(stale)}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
