"""Folders with links, loops and things that are no files: every file once, and an account of the rest."""

import os
from pathlib import Path

import pytest

from videogpt_tokenizer.files.listing import Listing, in_order, stem_of, suffix_of


def make(folder: Path, *places: str) -> None:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(place)


def link(path: Path, target: str | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "place, stem, suffix",
    [
        ("a.MP4", "a", ".mp4"),
        ("x.y/a", "x.y/a", ""),
        ("x/.a", "x/.a", ""),
        ("x/a.b.c", "x/a.b", ".c"),
        ("a.", "a", "."),
    ],
)
def test_stem_and_suffix(place: str, stem: str, suffix: str) -> None:
    assert (stem_of(place), suffix_of(place)) == (stem, suffix)


def test_folder_by_folder_and_nothing_that_is_hidden(tmp_path: Path) -> None:
    make(tmp_path, "b.mp4", "a-b/1.mp4", "a/2.mp4", "a/.DS_Store", ".git/3.mp4", "a/b/c/4.mp4")
    listing = Listing(tmp_path)
    assert listing.files == ["a/2.mp4", "a/b/c/4.mp4", "a-b/1.mp4", "b.mp4"] == sorted(listing.files, key=in_order)
    assert (listing.unused, listing.told()) == ({}, "")


def test_linked_folders_are_followed_under_their_own_names(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/cats/deep/1.mp4", "elsewhere/dogs/2.mp4", "clips/birds/3.mp4")
    link(tmp_path / "clips" / "cats", tmp_path / "elsewhere" / "cats")
    link(tmp_path / "clips" / "dogs", "../elsewhere/dogs")
    listing = Listing(tmp_path / "clips")
    assert listing.files == ["birds/3.mp4", "cats/deep/1.mp4", "dogs/2.mp4"] and not listing.unused


@pytest.mark.parametrize("target", [".", "..", "../a", "../../clips", "../b"])
def test_no_loop_is_endless(tmp_path: Path, target: str) -> None:
    make(tmp_path, "clips/a/1.mp4", "clips/b/2.mp4")
    link(tmp_path / "clips" / "a" / "again", target)
    link(tmp_path / "clips" / "b" / "again", "../a")
    listing = Listing(tmp_path / "clips")
    assert listing.files == ["a/1.mp4", "b/2.mp4"]
    assert listing.unused == {"link to a folder that is read already": ["a/again", "b/again"]}
    assert listing.told().startswith("2 of 4 files are left aside: 2 link to a folder")


def test_two_links_to_one_folder_are_one(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/1.mp4", "clips/x.mp4")
    for name in ("b", "a", "c"):
        link(tmp_path / "clips" / name, tmp_path / "elsewhere")
    listing = Listing(tmp_path / "clips")
    assert listing.files == ["a/1.mp4", "x.mp4"]
    assert listing.unused == {"link to a folder that is read already": ["b", "c"]}


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    link(tmp_path / "gone.mp4", "nowhere")
    link(tmp_path / "self.mp4", "self.mp4")
    link(tmp_path / "x" / "gone", tmp_path / "no_folder" / "inside")
    os.mkfifo(tmp_path / "pipe.mp4")
    listing = Listing(tmp_path)
    assert listing.files == ["a.mp4"]
    assert listing.unused == {"dangling link": ["gone.mp4", "self.mp4", "x/gone"], "no plain file": ["pipe.mp4"]}
    what = "3 dangling link (gone.mp4, self.mp4, x/gone), 1 no plain file (pipe.mp4)"
    assert listing.told() == f"4 of 5 files are left aside: {what}"
    assert "(gone.mp4, and 2 more)" in listing.told(limit=1)


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path, "a.mp4", "shut/b.mp4")
    usual = os.scandir

    def scandir(path: Path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return usual(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert Listing(tmp_path).unused == {"folder that cannot be opened": ["shut"]}
    with pytest.raises(PermissionError):
        Listing(tmp_path / "shut")


def test_a_file_by_two_names_is_one(tmp_path: Path) -> None:
    make(tmp_path, "clips/z/real.mp4", "elsewhere/blob")
    link(tmp_path / "clips" / "a.mp4", "z/real.mp4")  # a link comes first in order, and the file itself counts
    for name in ("b.mp4", "c.mp4"):
        link(tmp_path / "clips" / name, tmp_path / "elsewhere" / "blob")
    listing = Listing(tmp_path / "clips")
    assert listing.files == ["a.mp4", "b.mp4", "c.mp4", "z/real.mp4"]
    assert listing.without_second_names(listing.files) == ["b.mp4", "z/real.mp4"]
    assert listing.unused == {"link to a file that is there already": ["a.mp4", "c.mp4"]}
