"""Files and folders that appear whole, in place of older ones or where there was nothing.

    with replacement_of(Path("runs/tiny/pretrained")) as partial:
        ...                                       # write the file or folder `partial`; at the end it takes that place
    write_whole(Path("config.json"), "{}\n")

At any moment what is there is whole. After an error or an interrupt it is what it was, and nothing lies beside it. Asks
nothing: what may be replaced is the caller's to decide. For folders that must not exist yet see `whole_folder`.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacement_of(path: Path, *, leader: bool | None = None) -> Iterator[Path]:
    """A hidden path beside `path` to write a file or a folder to; it takes that place at the end.

    Raises OSError where `path` cannot be replaced; what was there is still there.

    Args:
        leader: Where all processes of a run write together, whether this is the first of them. All get the same hidden
            path; the first clears it of what a killed run left there, and moves it at the end. None where each writes
            by itself: several that replace the same path at once do not touch each other's work.
    """
    partial = partial_of(path) if leader is None else partial_of(path, tag="shared")
    if leader:
        _remove(partial)
    try:
        yield partial
        if leader is not False:
            _move(partial, path)
    except BaseException:
        _remove(partial)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file of bytes, or of text in UTF-8; see `replacement_of`."""
    with replacement_of(path) as partial:
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def partial_of(path: Path, tag: str | None = None) -> Path:
    """The hidden path beside `path` under which it is written. Absolute: a colon in it would look like a protocol.

    The tag is random unless given: in containers that share a disk all processes have the same number.
    """
    path = path.absolute()
    return path.with_name(f".{path.name}.partial-{tag or secrets.token_hex(4)}")


def _move(partial: Path, path: Path) -> None:
    """Put `partial` in the place of `path`; what is there goes, or comes back if that fails."""
    if not path.is_dir():
        partial.replace(path)
        return
    old = partial.with_name(f"{partial.name}-old")
    _remove(old)
    path.rename(old)
    try:
        partial.rename(path)
    except BaseException:
        old.rename(path)
        raise
    with suppress(OSError):  # it is no longer needed, and the new one is in its place
        _remove(old)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
