"""Output folders that files are added to: checked before the work, gone again where nothing came of it.

    with output_folder(Path("samples")) as folder:
        ...                                        # the work
        with writing_to(folder):                   # says "cannot write samples: No space left on device; ..."
            clip.write(folder / "0001.mp4")

Refuses, before any work, a folder that cannot be made or written.
"""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when there is no room: on the disk, for this user, in a file."""


def cannot_write(output: Path, error: OSError) -> OSError:
    """The system's error in words that name the output as the user did, not a hidden file, and the remedy."""
    reason = "a file is in the way" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror or error
    remedy = "free some space or choose another --output" if error.errno in DISK_FULL else "choose another --output"
    return OSError(f"cannot write {output}: {reason}; {remedy}")


@contextmanager
def writing_to(output: Path) -> Iterator[None]:
    """Writes to an output, and nothing else, go in here.

    Raises:
        OSError: a write failed; see `cannot_write`.
    """
    try:
        yield
    except OSError as error:
        raise cannot_write(output, error) from error


@contextmanager
def output_folder(folder: Path, output: Path | None = None) -> Iterator[Path]:
    """A folder to add files to, made if need be; of those made here, the ones that stay empty go again.

    Args:
        folder: The folder.
        output: What errors name in its place, where the user has given something else.

    Raises:
        OSError: it is a file, or cannot be made or written.
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
