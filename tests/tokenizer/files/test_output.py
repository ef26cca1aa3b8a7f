"""Output folders: whole or absent, checked before the work, and errors that name what the user named."""

import errno
import os
from pathlib import Path

import pytest

from videogpt_tokenizer.files.output import output_folder, whole_folder, writing_to

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), ".hidden.partial")
FILLED = ["clips", "clips/0.mp4", "metadata.csv"]
as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def fill(partial: Path) -> None:
    (partial / "clips").mkdir()
    for name in ("clips/0.mp4", "metadata.csv"):
        (partial / name).write_text(name)


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(params=[False, True], ids=["new", "exists"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "out"
    if request.param:
        folder.mkdir(parents=True)
    return folder


def test_a_folder_appears_whole(tmp_path: Path, folder: Path) -> None:
    with whole_folder(folder) as partial:
        fill(partial)
        assert not folder.exists() or {path.name for path in folder.iterdir()} == {partial.name, f"{partial.name}.lock"}
    assert everything(tmp_path) == ["deep", "deep/out", *(f"deep/out/{name}" for name in FILLED)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no")])
def test_after_an_error_all_is_as_before(tmp_path: Path, folder: Path, error: BaseException) -> None:
    before = everything(tmp_path)
    with pytest.raises(type(error)), whole_folder(folder) as partial:
        fill(partial)
        raise error
    assert everything(tmp_path) == before


def test_a_folder_that_is_there_stays_the_same_one(tmp_path: Path) -> None:
    """A mount point can neither be removed nor renamed onto, and a link has to stay a link."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    inode = (tmp_path / "disk").stat().st_ino
    with whole_folder(tmp_path / "link") as partial:
        assert partial.stat().st_dev == (tmp_path / "disk").stat().st_dev and partial.parent == tmp_path / "link"
        fill(partial)
    assert (tmp_path / "disk").stat().st_ino == inode and (tmp_path / "link").is_symlink()
    assert everything(tmp_path / "disk") == FILLED


def test_a_move_that_fails_half_way_is_undone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write .*: a file is in the way"), whole_folder(tmp_path) as partial:
        fill(partial)
        (tmp_path / "metadata.csv").write_text("somebody else's")
    assert everything(tmp_path) == ["metadata.csv"]
    assert (tmp_path / "metadata.csv").read_text() == "somebody else's"


def test_what_holds_something_is_refused_and_named(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    for folder, said in (
        (tmp_path, "not an empty folder .it holds clips, link, metadata.csv"),
        (tmp_path / "metadata.csv", "a file"),
        (tmp_path / "link", "a link to nothing"),
    ):
        with pytest.raises(ValueError, match=f"{folder.name} is .*{said}"), whole_folder(folder):
            pytest.fail("the work has begun")


@pytest.mark.parametrize("opened", [whole_folder, output_folder])
@pytest.mark.parametrize("name", ["file/out", "x" * 300, pytest.param("locked/out", marks=as_root)])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, opened, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir(mode=0o500)
    refused = pytest.raises(OSError, match=f"^cannot write {tmp_path / name}: .*; choose another --output$")
    with refused, opened(tmp_path / name):
        pytest.fail("the work has begun")
    assert everything(tmp_path) == ["file", "locked"]


def test_a_full_disk_is_said_of_the_output_with_the_remedy(tmp_path: Path) -> None:
    said = f"^cannot write {tmp_path / 'out'}: No space left on device; free some space or choose another --output$"
    with pytest.raises(OSError, match=said), writing_to(tmp_path / "out"):
        raise FULL
    with pytest.raises(OSError, match=said), whole_folder(tmp_path / "out"):
        raise FULL
    assert everything(tmp_path) == []


def test_other_trouble_of_the_work_is_not_laid_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="source"), whole_folder(tmp_path):
        raise PermissionError(errno.EACCES, "denied", "source")


def test_only_folders_that_were_made_and_stayed_empty_go_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for folder in (tmp_path / "old", tmp_path / "new" / "deep"):
        with pytest.raises(KeyboardInterrupt), output_folder(folder):
            raise KeyboardInterrupt
    assert everything(tmp_path) == ["old"]
    with pytest.raises(KeyboardInterrupt), output_folder(tmp_path / "new" / "deep") as folder:
        (folder / "0001.mp4").touch()
        raise KeyboardInterrupt
    assert everything(tmp_path) == ["new", "new/deep", "new/deep/0001.mp4", "old"]
