"""Output folders: checked before the work, and gone again where nothing came of it.

    with whole_folder(Path("shards")) as partial:  # all of it or nothing
        (partial / "codes.npy").write_bytes(...)

    with output_folder(Path("samples")) as folder:  # to add files to
        ...                                         # the work
        with writing_to(folder):                    # says "cannot write samples: No space left on device; ..."
            clip.write(folder / "0001.mp4")

Both refuse, before any work, a folder that cannot be made or written, and `whole_folder` one that holds anything:
nothing is ever overwritten.
"""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from videogpt_tokenizer.files.replacing import clear_left_overs, own_partial
from videogpt_tokenizer.files.wording import some_of

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when there is no room: on the disk, for this user, in a file."""


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to fill, moved to `folder` at the end; after an error or an interrupt it is gone.

    It stands beside that place. An empty folder that is there already stays, since it may be a mount point: it is
    filled in a hidden folder inside.

    Raises:
        ValueError: `folder` is a file, or a folder that is not empty.
        OSError: it cannot be written, which is said before the body runs, or the disk is full.
    """
    with writing_to(folder):
        is_there = folder.exists()
        place = folder if is_there else folder.absolute().parent
        hidden_beside = place / folder.absolute().name
        clear_left_overs(hidden_beside)
        _refuse_what_holds_something(folder)
    with output_folder(place, output=folder), own_partial(hidden_beside) as partial:
        try:
            with writing_to(folder):
                partial.mkdir()
            yield partial
            with writing_to(folder):
                _move_entries(partial, folder) if is_there else partial.rename(folder)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise _cannot_write(folder, error) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def output_folder(folder: Path, output: Path | None = None) -> Iterator[Path]:
    """A folder to add files to, made if need be; of those made here, the ones that stay empty go again.

    `output` is what errors name in its place, where the user has given something else. Raises OSError where it is a
    file, or cannot be made or written.
    """
    missing: list[Path] = []
    try:
        with writing_to(output or folder):
            missing += [place for place in (folder, *folder.parents) if not place.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        yield folder
    finally:
        with suppress(OSError):  # the first that holds something ends it
            for place in missing:
                place.rmdir()


@contextmanager
def writing_to(output: Path, flag: str = "--output") -> Iterator[None]:
    """Writes to an output, and nothing else, go in here: an OSError of theirs then names it, and the remedy.

    `flag` is the setting that says where the output is.
    """
    try:
        yield
    except OSError as error:
        raise _cannot_write(output, error, flag) from error


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the system has said so, be it of an error that this one was made of."""
    return isinstance(error, OSError) and (error.errno in _DISK_FULL or is_disk_full(error.__cause__))


def _cannot_write(output: Path, error: OSError, flag: str = "--output") -> OSError:
    """The system's error in words that name the output as the user did, not a hidden file."""
    while error.errno is None and isinstance(error.__cause__, OSError):
        error = error.__cause__
    reason = "a file is in the way" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror or error
    remedy = f"free some space or choose another {flag}" if error.errno in _DISK_FULL else f"choose another {flag}"
    return OSError(f"cannot write {output}: {reason}; {remedy}")


def _refuse_what_holds_something(folder: Path) -> None:
    if folder.is_symlink() and not folder.exists():
        raise ValueError(f"{folder} is a link to nothing: choose another --output or remove it")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, not an empty folder: choose another --output or remove it")
    held = some_of(sorted(path.name for path in folder.iterdir())) if folder.exists() else ""
    if held:
        raise ValueError(f"{folder} is not an empty folder (it holds {held}): choose another --output or empty it")


def _move_entries(partial: Path, folder: Path) -> None:
    """Move what `partial` holds into `folder`, all of it or nothing.

    Files go last, and with them what makes the rest known: `manifest.json` or `metadata.csv`.
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
