"""A lock is one process's, ends with it, and stands in nobody's way where there can be none."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from videogpt_tokenizer.files.locks import locked, owner_of

HOLDER = """
import sys, time
from pathlib import Path
from videogpt_tokenizer.files.locks import locked
with locked(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_one_holds_it_and_is_known_and_nothing_stays(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with locked(path) as mine, locked(path) as second, locked(path, patience=0.05) as third:
        assert (mine, second, third) == (True, False, False)
        assert str(os.getpid()) in owner_of(path)
    assert os.listdir(tmp_path) == [] and owner_of(path) == "another process"
    path.write_text("left by an earlier process")
    with locked(path) as mine:
        assert mine and "left" not in owner_of(path)


def test_a_killed_process_frees_it_and_a_child_of_it_does_not_hold_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"True\n"
        with locked(tmp_path / ".lock") as mine:
            assert mine is False and str(holder.pid) in owner_of(tmp_path / ".lock")
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with locked(tmp_path / ".lock") as mine:
        assert mine


@pytest.mark.parametrize("trouble", [OSError(errno.ENOLCK, "no locks"), NotImplementedError(), PermissionError()])
def test_without_locks_the_work_goes_on(trouble: Exception, tmp_path: Path, monkeypatch) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise trouble

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with locked(tmp_path / ".lock") as mine:
        assert mine is None
    with locked(tmp_path / "nowhere" / ".lock") as mine:
        assert mine is None
