"""Files and folders that take the place of older ones: at any moment one of the two is whole.

    with beside(Path("runs/tiny/pretrained")) as partial:
        ...                                # write the file or folder `partial`, which takes that place at the end

Asks nothing: what may be replaced is the caller's to decide. For folders that must not exist yet see `whole_folder`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A hidden path beside `path` to write to; it takes that place at the end, or is gone after an error.

    Raises:
        OSError: `path` cannot be replaced; what was there is still there.
    """
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)  # of a process that was killed while it wrote
    try:
        yield partial
        replace(path, partial)
    finally:
        remove(partial)


def replace(path: Path, new: Path) -> None:
    """Move the file or folder `new` to `path`; what is there goes, or comes back if that fails."""
    if not path.is_dir():
        os.replace(new, path)
        return
    old = path.with_name(f".{path.name}.replaced-{os.getpid()}")
    os.rename(path, old)
    try:
        os.rename(new, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
