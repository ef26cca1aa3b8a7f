"""Files and folders that appear whole, in place of older ones or where there was nothing.

    with replacement_of(Path("runs/tiny/pretrained")) as partial:
        ...                                       # write the file or folder `partial`; at the end it takes that place
    write_whole(Path("config.json"), "{}\n")

At any moment what is there is whole. After an error or an interrupt it is what it was, and nothing lies beside it. What
a killed process has left beside it goes when the same place is written again: each holds a lock as long as it writes,
see `locks`. Asks nothing: what may be replaced is the caller's to decide. For folders that must not exist yet see
`whole_folder`.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from videogpt_tokenizer.files.locks import locked, owner_of

_SHARED = "shared"
_OWN = tuple("01234567")
"""Tags of hidden paths, so that what was left is found without a look at all of a folder; more get random ones."""


@contextmanager
def replacement_of(path: Path, *, leader: bool | None = None) -> Iterator[Path]:
    """A hidden path beside `path` to write a file or a folder to; it takes that place at the end.

    Raises OSError where `path` cannot be replaced; what was there is still there.

    Args:
        leader: Where all processes of a run write together, whether this is the first of them. All get the same hidden
            path; the first clears it of what a killed run left there, and moves it at the end. None where each writes
            by itself: several that replace the same path at once do not touch each other's work.
    """
    with ExitStack() as stack:
        if leader is False:
            partial = _partial(path, _SHARED)
        else:
            partial = stack.enter_context(own_partial(path, shared=leader is True))
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


@contextmanager
def own_partial(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """A hidden path beside `path` under which it is written, with nothing there: this process's while the body runs.

    Raises OSError where it is that of all processes of a run, `shared`, and another run writes there.
    """
    clear_left_overs(path)
    with ExitStack() as stack:
        for tag in (_SHARED,) if shared else _OWN:
            partial = _partial(path, tag)
            # Another may hold a shared one for a moment, to see whether it was left.
            mine = stack.enter_context(locked(_lock_of(partial), patience=1 if shared else 0))
            if mine is None or mine:
                break
        else:
            if shared:
                raise OSError(f"{path} is being written by {owner_of(_lock_of(partial))}: wait for it, or stop it")
            mine = None
        if not mine and not shared:  # nobody can say whose a hidden path is, so take one that nobody else has
            partial = _partial(path, secrets.token_hex(4))
        _clear(partial, path)
        yield partial


def clear_left_overs(path: Path) -> None:
    """Remove what killed processes have left beside `path`, and nothing of one that lives."""
    for tag in (_SHARED, *_OWN):
        partial = _partial(path, tag)
        if _lock_of(partial).exists():
            with locked(_lock_of(partial)) as mine:
                if mine:
                    _clear(partial, path)


def clear_left_overs_in(folder: Path) -> None:
    """The same beside every path of a folder."""
    for lock in list(folder.glob(".*.partial-*.lock")):
        clear_left_overs(folder / lock.name[1:].rpartition(".partial-")[0])


def _partial(path: Path, tag: str) -> Path:
    """Absolute: a colon in it would look like a protocol."""
    path = path.absolute()
    return path.with_name(f".{path.name}.partial-{tag}")


def _lock_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.lock")


def _old(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}-old")


def _clear(partial: Path, path: Path) -> None:
    """Make `partial` a path where nothing is; a folder that was moved out of its way, and not replaced, comes back."""
    if _old(partial).exists() and not path.exists():
        _old(partial).rename(path)
    _remove(_old(partial))
    _remove(partial)


def _move(partial: Path, path: Path) -> None:
    """Put `partial` in the place of `path`; what is there goes, or comes back if that fails."""
    if not path.is_dir():
        partial.replace(path)
        return
    old = _old(partial)
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
