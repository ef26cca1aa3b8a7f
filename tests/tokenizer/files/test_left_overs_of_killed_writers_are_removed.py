"""What a killed writer leaves beside a place goes when that place is written again; a living one's work stays."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from videogpt_tokenizer.files.output import whole_folder
from videogpt_tokenizer.files.replacing import own_partial, replacement_of, write_whole

WRITERS = {
    "file": "with replacement_of(path) as partial: partial.write_text('half'); wait()",
    "folder": "with replacement_of(path) as partial: partial.mkdir(); (partial / 'half').touch(); wait()",
    "shared": "with replacement_of(path, leader=True) as partial: partial.mkdir(); (partial / 'half').touch(); wait()",
    "whole folder": "with whole_folder(path) as partial: (partial / 'half').touch(); wait()",
}
PROGRAM = """
import sys, time
from pathlib import Path
from videogpt_tokenizer.files.output import whole_folder
from videogpt_tokenizer.files.replacing import replacement_of
path = Path(sys.argv[1])
def wait(): print("writing", flush=True); time.sleep(60)
"""


@contextmanager
def writer(kind: str, path: Path) -> Iterator[subprocess.Popen]:
    """Another process in the middle of its work; it is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + WRITERS[kind], str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"writing\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def write_a_file(path: Path) -> None:
    write_whole(path, "new")


def write_shared(path: Path) -> None:
    with replacement_of(path, leader=True) as partial:
        partial.mkdir()


def write_a_folder(path: Path) -> None:
    with whole_folder(path) as partial:
        (partial / "new").touch()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("write", [write_a_file, write_shared, write_a_folder])
def test_it_goes_once_the_writer_is_dead_and_not_before(kind: str, write: Callable[[Path], None], tmp_path) -> None:
    place = tmp_path / "it"
    with writer(kind, place):
        (partial,) = (name for name in os.listdir(tmp_path) if not name.endswith(".lock"))
        both_shared = kind == "shared" and write is write_shared
        if both_shared:
            with pytest.raises(OSError, match=r"it is being written by process \d+ on .*: wait for it, or stop it"):
                write(place)
        else:
            write(tmp_path / "it")
        assert {partial, f"{partial}.lock"} <= set(os.listdir(tmp_path))
        if place.is_dir() and write is write_a_folder:
            (place / "new").unlink()
            place.rmdir()
    write(place)
    assert os.listdir(tmp_path) == ["it"]


def test_in_an_empty_folder_that_was_there_too(tmp_path: Path) -> None:
    with writer("whole folder", tmp_path), pytest.raises(ValueError, match="not an empty folder"):
        write_a_folder(tmp_path)
    write_a_folder(tmp_path)
    assert os.listdir(tmp_path) == ["new"]


def test_of_several_that_were_killed_nothing_stays(tmp_path: Path) -> None:
    with writer("file", tmp_path / "it"), writer("folder", tmp_path / "it"), writer("shared", tmp_path / "it"):
        assert len(os.listdir(tmp_path)) == 6
    write_a_file(tmp_path / "it")
    assert os.listdir(tmp_path) == ["it"]


def test_a_folder_moved_out_of_the_way_by_one_that_was_killed_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".it.partial-0-old").mkdir()
    (tmp_path / ".it.partial-0-old" / "kept").touch()
    (tmp_path / ".it.partial-0").mkdir()
    (tmp_path / ".it.partial-0.lock").touch()
    with pytest.raises(KeyboardInterrupt), replacement_of(tmp_path / "it"):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["it"] and os.listdir(tmp_path / "it") == ["kept"]


def test_many_writers_at_once_beside_a_dead_one(tmp_path: Path) -> None:
    """More of them than tags, each with a path of its own."""
    with writer("file", tmp_path / "it"):
        pass
    barrier, seen = threading.Barrier(12), []

    def write() -> None:
        with own_partial(tmp_path / "it") as partial:
            seen.append(partial)
            partial.write_text("mine")
            barrier.wait(timeout=20)
            assert partial.read_text() == "mine"
            partial.unlink()

    threads = [threading.Thread(target=write) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 12 and os.listdir(tmp_path) == []


def test_where_there_are_no_locks_what_another_may_own_stays(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / ".it.partial-0").touch()
    (tmp_path / ".it.partial-0.lock").touch()

    def refuse(*_args: object, **_more: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    write_a_file(tmp_path / "it")
    assert sorted(os.listdir(tmp_path)) == [".it.partial-0", ".it.partial-0.lock", "it"]
