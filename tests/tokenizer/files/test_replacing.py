"""One of two is whole at any moment, the older file or folder or the new one, and no rest of either lies about."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from videogpt_tokenizer.files.replacing import own_partial, replacement_of, write_whole

ROOT = Path(__file__).parents[3]


def write(path: Path, kind: str, content: str) -> None:
    """A file, or a folder with one."""
    if kind == "folder":
        path.mkdir()
    (path / "inside" if kind == "folder" else path).write_text(content)


def read(path: Path) -> str:
    return (path / "inside" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("leader", [None, True])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_was_there_stays_until_the_new_is_whole(kind, leader, tmp_path):
    for content, before in (("first", None), ("second", "first")):
        with replacement_of(tmp_path / "it", leader=leader) as partial:
            write(partial, kind, content)
            assert (read(tmp_path / "it") if before else None) == before
        assert read(tmp_path / "it") == content and os.listdir(tmp_path) == ["it"]


@pytest.mark.parametrize("leader", [None, True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full")])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_after_an_error_all_is_as_before(kind, error, leader, tmp_path):
    write(tmp_path / "it", kind, "first")
    with pytest.raises(type(error)), replacement_of(tmp_path / "it", leader=leader) as partial:
        write(partial, kind, "half")
        raise error
    assert read(tmp_path / "it") == "first" and os.listdir(tmp_path) == ["it"]


def test_what_was_there_comes_back_where_the_new_cannot_take_its_place(tmp_path, monkeypatch):
    write(tmp_path / "it", "folder", "first")
    rename = Path.rename

    def refuse_the_new(source: Path, target: Path) -> None:
        if target == tmp_path / "it" and not source.name.endswith("-old"):
            raise OSError("no")
        rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(OSError, match="no"), replacement_of(tmp_path / "it") as partial:
        write(partial, "folder", "second")
    assert read(tmp_path / "it") == "first" and os.listdir(tmp_path) == ["it"]


def test_all_processes_of_a_run_write_to_one_place_and_the_first_moves_it(tmp_path):
    """What a run left there that was killed, such as another's part of a checkpoint, does not come along."""
    path = tmp_path / "last.ckpt"
    with replacement_of(path, leader=True) as killed:
        pass_on = killed
        write(killed, "folder", "new")
    write(pass_on, "folder", "left")
    (pass_on / "other").touch()
    with replacement_of(path, leader=True) as first, replacement_of(path, leader=False) as second:
        assert first == second == pass_on and not first.exists()
        write(second, "folder", "by both")
    assert read(path) == "by both" and os.listdir(path) == ["inside"] and os.listdir(tmp_path) == ["last.ckpt"]
    with replacement_of(path, leader=False) as second:
        write(second, "folder", "not yet moved")
    assert read(path) == "by both" and read(second) == "not yet moved"


def test_several_that_replace_the_same_file_at_once_leave_one_whole(tmp_path):
    contents = [f"{index}" * 100_000 for index in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_whole(tmp_path / "it", content), contents))
    assert (tmp_path / "it").read_text() in contents and os.listdir(tmp_path) == ["it"]


def test_text_and_bytes(tmp_path):
    for content in ("caf\u00e9\n", b"\x00\xff"):
        write_whole(tmp_path / "it", content)
        assert (tmp_path / "it").read_bytes() == (content.encode() if isinstance(content, str) else content)


def test_a_link_to_a_folder_is_replaced_and_what_it_leads_to_stays(tmp_path):
    write(tmp_path / "elsewhere", "folder", "kept")
    (tmp_path / "it").symlink_to("elsewhere")
    with replacement_of(tmp_path / "it") as partial:
        write(partial, "folder", "new")
    assert read(tmp_path / "it") == "new" and not (tmp_path / "it").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", "it"] and read(tmp_path / "elsewhere") == "kept"


def test_partials_are_hidden_and_git_ignores_them(tmp_path):
    place = tmp_path / "a:b.mp4"
    with own_partial(place) as partial, own_partial(place) as other, own_partial(place, shared=True) as shared:
        assert partial.is_absolute() and len({partial, other, shared}) == 3
        names = [*sorted(os.listdir(tmp_path)), partial.name, f"{shared.name}-old"]
    assert len(names) == 5 and os.listdir(tmp_path) == []  # each with its lock
    found = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True)
    if found.returncode == 128:
        pytest.skip("not a checkout")
    assert found.stdout.split() == names
