"""What is shipped inside a package goes by its name, anything else by its path.

    shipped = shipped_in(Path(videogpt_tokenizer.__file__).parent / "pretrained")     # {"natural": .../natural}
    folder = find_folder("natural", "tokenizer", shipped)

A name comes before a path: a folder of the same name is `./natural`.
"""

from collections.abc import Mapping
from pathlib import Path

from videogpt_tokenizer.files.weights_folder import CONFIG_NAME


def shipped_in(folder: Path) -> dict[str, Path]:
    """What lies in a folder of a package, by name: each a folder with a `config.json`."""
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG_NAME}"))}


def find_folder(name_or_path: str | Path, kind: str, shipped: Mapping[str, Path]) -> Path:
    """The folder of something that is shipped, or the path itself; ValueError where neither is a folder."""
    folder = shipped.get(str(name_or_path), Path(name_or_path))
    if not folder.is_dir():
        known = ", ".join(shipped) or "none is installed"
        raise ValueError(f"{kind} {str(name_or_path)!r} is neither a folder nor a shipped {kind} ({known})")
    return folder
