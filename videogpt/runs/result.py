"""What a run has made: its folder is told from others, and whoever is given it in place of the result is told so.

if is_run_folder(path): ...
refuse_run_folder(Path("runs/tiny"))       # ValueError: ... give runs/tiny/pretrained
"""

from pathlib import Path

from videogpt.runs.folder import CONFIG, LAST, PRETRAINED

RESULT_CONFIG = "config.json"
"""What every model and tokenizer folder has."""


def is_run_folder(folder: Path) -> bool:
    """Whether the folder is a run's: it has checkpoints, a run's configuration or a run's result, and is none."""
    if (folder / RESULT_CONFIG).is_file():
        return False
    parts = (folder / LAST.parent, folder / CONFIG, folder / PRETRAINED / RESULT_CONFIG)
    return any(part.exists() for part in parts)


def refuse_run_folder(folder: Path) -> None:
    """Where a model or tokenizer is wanted, say where in a run's folder it is.

    Raises:
        ValueError: the folder is a run's.
    """
    if not is_run_folder(folder):
        return
    result = folder / PRETRAINED
    if (result / RESULT_CONFIG).is_file():
        raise ValueError(f"{folder} is the folder of a run: give what the run has made, {result}")
    raise ValueError(f"{folder} is the folder of a run that has made nothing yet: let fit go on, then give {result}")
