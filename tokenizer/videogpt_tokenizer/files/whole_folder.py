"""Output folders that appear whole or not at all.

    with whole_folder(Path("shards")) as partial:
        (partial / "codes.npy").write_bytes(...)

A new folder is filled under a hidden name beside its place. An empty one that is there already stays, since it
may be a mount point: it is filled in a hidden folder inside. Refuses a folder that holds anything: nothing is
ever overwritten.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videogpt_tokenizer.files.output import DISK_FULL, cannot_write, output_folder, writing_to
from videogpt_tokenizer.files.replacing import partial_of
from videogpt_tokenizer.files.wording import some_of


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to fill, moved to `folder` at the end; after an error or an interrupt it is gone.

    Raises:
        ValueError: `folder` is a file, or a folder that is not empty.
        OSError: it cannot be written, which is said before the body runs, or the disk is full.
    """
    with writing_to(folder):
        is_there = folder.exists()
        _refuse_what_holds_something(folder)
    with output_folder(folder if is_there else folder.absolute().parent, output=folder) as place:
        partial = partial_of(place / folder.absolute().name)
        try:
            with writing_to(folder):
                partial.mkdir()
            yield partial
            with writing_to(folder):
                _move_entries(partial, folder) if is_there else partial.rename(folder)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise cannot_write(folder, error) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _refuse_what_holds_something(folder: Path) -> None:
    if folder.is_symlink() and not folder.exists():
        raise ValueError(f"{folder} is a link to nothing: choose another --output or remove it")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not an empty folder: choose another --output or remove it")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if held:
        raise ValueError(
            f"{folder} is not an empty folder (it holds {some_of(held)}): choose another --output or empty it"
        )


def _move_entries(partial: Path, folder: Path) -> None:
    """Move what `partial` holds into `folder`, all of it or nothing.

    Files go last, in the order of their names, and with them what makes the rest known: `manifest.json` or
    `metadata.csv`.
    """
    moved: list[Path] = []
    try:
        for entry in sorted(partial.iterdir(), key=lambda entry: (entry.is_file(), entry.name)):
            if (folder / entry.name).exists():  # somebody else's, made in the meantime
                raise FileExistsError(errno.EEXIST, "exists", entry.name)
            moved.append(entry.rename(folder / entry.name))
    except BaseException:
        for path in moved:
            path.rename(partial / path.name)
        raise
