"""Locks that end with the process that holds them, however it ends: the system keeps them, on a file made for that.

    with locked(Path("runs/tiny/.fit.lock")) as mine:     # True: ours while the body runs; False: another's
        ...
    owner_of(Path("runs/tiny/.fit.lock"))                 # "process 1234 on host", of whoever holds it

The file tells nothing by itself: one that a killed process has left is taken over. Where the file system has no locks,
or the file cannot be made, `locked` gives None.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path, patience: float = 0) -> Iterator[bool | None]:
    """Hold the lock on the file `path`, which is made and removed again; wait for it for `patience` seconds."""
    import filelock  # comes with torch

    lock = filelock.FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=patience, poll_interval=0.02)
        mine: bool | None = not isinstance(lock, filelock.SoftFileLock)  # what it becomes where there are no locks
    except filelock.Timeout:
        mine = False
    except (OSError, NotImplementedError):
        mine = None
    if lock.is_locked and not mine:
        lock.release()
        mine = None
    if mine:
        with suppress(OSError):
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
    try:
        yield mine
    finally:
        if mine:
            with suppress(OSError):  # before the release: whoever comes next makes a file of its own
                path.unlink()
            lock.release()


def owner_of(path: Path) -> str:
    """Who holds the lock on the file `path`, as far as is known."""
    with suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8")[:200].strip() or "another process"
    return "another process"
