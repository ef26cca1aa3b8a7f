"""Output folders that appear whole or not at all.

    with whole_folder(Path("shards")) as partial:
        (partial / "codes.npy").write_bytes(...)

Refuses a folder that holds anything already: nothing is ever overwritten.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill, renamed to `folder` at the end; after an error or an interrupt it is gone.

    Raises:
        ValueError: `folder` is a file, or a folder that is not empty.
        OSError: it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not an empty folder: choose another name or remove it")
    partial = folder.absolute().with_name(f".{folder.name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
