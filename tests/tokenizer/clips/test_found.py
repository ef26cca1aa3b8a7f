"""Clips with texts beside them, in folders and in tar files: which caption each has, and what is left aside."""

import json
import tarfile
from pathlib import Path

import pytest

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES
from videogpt_tokenizer.clips.folder import ClipFolder


def put(folder: Path, files: dict[str, str | bytes]) -> Path:
    for place, content in files.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def packed(folder: Path, files: dict[str, str | bytes], tar: str = "shards/0001.tar") -> Path:
    """The same files in a tar file."""
    put(folder / "unpacked", files)
    (folder / "clips" / tar).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "clips" / tar, "w") as archive:
        for place in files:
            archive.add(folder / "unpacked" / place, place)
    return folder / "clips"


def captions(folder: Path, **columns: str) -> dict[str, str]:
    records = ClipFolder(folder, **columns)
    return {records.name_of(record): record.caption for record in records}


BESIDE = {
    "red_cat/1.mp4": "1", "red_cat/1.txt": "from the text\n",
    "red_cat/2.webm": "2", "red_cat/2.json": '{"caption": "from JSON", "film": "x"}',
    "red_cat/3.v2.mp4": "3", "red_cat/3.v2.txt": b"\xef\xbb\xbftext \xc3\xbc\r\n\r\n",
    "red_cat/3.v2.json": '{"caption": null, "film": "y"}',
    "red_cat/4.png": "4",
    "red_cat/5.MOV": "5", "red_cat/5.TXT": "",
    "red_cat/6.mp4": "6", "red_cat/6.json": '{"film": "z"}',
    "red_cat/7.gif": "7", "red_cat/7.txt": "two\nlines",
}  # fmt: skip
CAPTIONS = ["from the text", "from JSON", "text ü", "red cat", "", "red cat", "two\nlines"]


@pytest.mark.parametrize("how", [put, packed])
def test_the_caption_of_each(tmp_path: Path, how) -> None:
    records = ClipFolder(how(tmp_path, BESIDE))
    assert records.captions() == CAPTIONS and not records.unused and records.left_aside() == ""
    assert [record.fields.get("film") for record in records] == [None, "x", "y", None, None, "z", None]


@pytest.mark.parametrize("how", [put, packed])
def test_another_key_of_json(tmp_path: Path, how) -> None:
    folder = how(tmp_path, {"1.mp4": "1", "1.json": '{"caption": "no", "text": "yes"}', "2.mp4": "2"})
    assert list(captions(folder, caption_column="text").values()) == ["yes", ""]


@pytest.mark.parametrize("how", [put, packed])
@pytest.mark.parametrize(
    "name, content, message",
    [
        ("1.txt", "café".encode("latin-1"), "is not UTF-8 at byte 3, line 1; save it as UTF-8"),
        ("1.txt", "a cat".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("1.json", '{"caption": ', "is not sound JSON"),
        ("1.json", '{"caption": ["a", "b"]}', "caption is .*; give text"),
        ("1.json", '{"caption": null}', "caption is None; give text"),
        ("1.json", '{"caption": "half \\ud83d"}', "caption is .* half a letter of two"),
    ],
)
def test_a_wrong_text_is_named(tmp_path: Path, how, name: str, content: str | bytes, message: str) -> None:
    folder = how(tmp_path, {"1.mp4": "1", name: content, "2.mp4": "2"})
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        ClipFolder(folder)


def test_a_folder_is_no_caption_of_a_tar_file_in_it(tmp_path: Path) -> None:
    folder = packed(tmp_path, {"1.mp4": "1", "ice-skating/2.mp4": "2", "./3.mp4": "3", "3.txt": "three"}, "train/x.tar")
    assert captions(folder) == {"train/x.tar/1.mp4": "", "train/x.tar/3.mp4": "three",
                                "train/x.tar/ice-skating/2.mp4": "ice skating"}  # fmt: skip


def test_several_shards_and_loose_clips_are_one_folder_in_order(tmp_path: Path) -> None:
    for number in (2, 1, 10):
        packed(tmp_path, {f"{number}-b.mp4": f"{number}b", f"{number}-a.mp4": f"{number}a"}, f"s/{number:02}.tar")
    put(tmp_path / "clips", {"loose/x.mp4": "x"})
    assert list(captions(tmp_path / "clips")) == ["loose/x.mp4", *(f"s/{n:02}.tar/{n}-{letter}.mp4"
                                                                   for n in (1, 2, 10) for letter in "ab")]  # fmt: skip


def test_a_sample_is_one_clip(tmp_path: Path) -> None:
    files = {"7.jpg": "j", "7.mp4": "m", "7.thumb.png": "p", "7.txt": "seven", "7.cls": "0", "v1.0_a.mp4": "a",
             "v1.0_b.mp4": "b", "._7.mp4": "hidden"}  # fmt: skip
    records = ClipFolder(packed(tmp_path, files))
    assert captions(records.folder) == {f"shards/0001.tar/{name}": text for name, text in
                                        {"7.mp4": "seven", "v1.0_a.mp4": "", "v1.0_b.mp4": ""}.items()}  # fmt: skip
    assert records.unused == {
        "further picture of a sample": ["shards/0001.tar/7.jpg", "shards/0001.tar/7.thumb.png"],
        "other suffix": ["shards/0001.tar/7.cls"],
    }
    assert records.left_aside().startswith(f"{records.folder}: 3 of 7 files are left aside: 2 further picture")


def test_clips_that_are_there_unpacked_are_not_taken_twice(tmp_path: Path) -> None:
    folder = packed(tmp_path, {"cats/1.mp4": "one", "cats/2.mp4": "two"}, "cats.tar")
    put(folder, {"cats/1.mp4": "one", "cats/2.mp4": "another two"})
    assert captions(folder) == {"cats/1.mp4": "cats", "cats/2.mp4": "cats", "cats.tar/cats/2.mp4": "cats"}
    assert ClipFolder(folder).unused == {"clip of a tar file that lies beside it unpacked": ["cats.tar/cats/1.mp4"]}


def test_everything_that_is_left_aside_is_named(tmp_path: Path) -> None:
    folder = packed(tmp_path, {"1.mp4": "1", "1.txt": "x"}, "a.tar")
    packed(tmp_path, {"source.py": "no clip"}, "code.tar")
    put(folder, {"b.mp4": "b", "b.xyz": "?", "noname": "?", "c.txt": "no clip", "data.tar.gz": "?", "list.json": "[]",
                 "b.json": "[1, 2]", ".hidden": "?"})  # fmt: skip
    (folder / "gone.mp4").symlink_to("nowhere")
    (folder / "again.mp4").symlink_to("b.mp4")
    records = ClipFolder(folder)
    assert [records.name_of(record) for record in records] == ["a.tar/1.mp4", "b.mp4"]
    assert records.unused == {
        "JSON that is no object": ["b.json"],
        "caption without a clip": ["c.txt"],
        "compressed tar, to be unpacked": ["data.tar.gz"],
        "dangling link": ["gone.mp4"],
        "link to a file that is there already": ["again.mp4"],
        "other suffix": ["b.xyz", "list.json", "noname"],
        "tar file without clips": ["code.tar"],
    }
    told = records.left_aside()
    assert told.startswith(f"{folder}: 9 of 12 files are left aside: 1 JSON that is no object (b.json), ")
    assert "3 other suffix (b.xyz, list.json, noname)" in told and "\n" not in told


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.tar.gz": "?", "b.tgz": "?"}, r"2 compressed tar, to be unpacked \(a.tar.gz, b.tgz\)"),
        ({"a.xyz": "?"}, r"1 of 1 files is left aside: 1 other suffix \(a.xyz\)"),
        ({"a.txt": "?"}, r"1 caption without a clip \(a.txt\)"),
    ],
)
def test_where_no_clip_is_left_the_rest_is_named(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=f"holds no clips; known suffixes are .*; .*{message}"):
        ClipFolder(put(tmp_path, files))


def test_a_cut_off_tar_is_left_aside_and_named(tmp_path: Path) -> None:
    folder = packed(tmp_path, {"1.mp4": "1" * 9999, "2.mp4": "2"}, "a.tar")
    (folder / "a.tar").write_bytes((folder / "a.tar").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"holds no clips; .* 1 tar file that is cut short.* \(a\.tar\)"):
        ClipFolder(folder)
    records = ClipFolder(put(folder, {"3.mp4": "3"}))
    assert len(records) == 1 and "1 tar file that is cut short" in records.left_aside()


def test_equal_names_and_sizes_are_not_yet_equal_clips(tmp_path: Path) -> None:
    folder = packed(tmp_path, {"1.mp4": "one", "1.txt": "in the tar", "2.mp4": "two"}, "a.tar")
    put(folder, {"x/1.mp4": "eno", "x/2.mp4": "two"})
    assert captions(folder) == {"a.tar/1.mp4": "in the tar", "x/1.mp4": "x", "x/2.mp4": "x"}
    assert ClipFolder(folder).unused == {"clip of a tar file that lies beside it unpacked": ["a.tar/2.mp4"]}


def test_faults_of_texts_are_told_all_at_once(tmp_path: Path) -> None:
    put(tmp_path, {"1.mp4": "1", "1.txt": b"caf\xe9", "2.mp4": "2", "2.json": '{"caption": 5}', "3.mp4": "3"})
    put(tmp_path, {"3.json": "{"})
    with pytest.raises(ValueError, match=r"1\.txt: is not UTF-8.*; .*2\.json: caption is 5.*; .*3\.json: is not sound"):
        ClipFolder(tmp_path)


def test_a_table_of_almost_the_name_is_named(tmp_path: Path) -> None:
    records = ClipFolder(put(tmp_path, {"1.mp4": "1", "Metadata.CSV": "file_name,caption\n1.mp4,x\n"}))
    assert records.unused == {"table, to be named metadata.csv": ["Metadata.CSV"]}


@pytest.mark.parametrize("suffix", CLIP_SUFFIXES)
def test_every_known_suffix_is_found_and_has_its_text(tmp_path: Path, suffix: str) -> None:
    put(tmp_path, {f"a{suffix.upper()}": "a", "a.txt": "text", "other/b.doc": "b"})
    assert captions(tmp_path) == {f"a{suffix.upper()}": "text"}


def test_json_says_more_than_the_caption(tmp_path: Path) -> None:
    folder = packed(tmp_path, {"1.mp4": "1", "1.json": json.dumps({"caption": "c", "film": 3, "more": [1]})})
    assert dict(ClipFolder(folder)[0].fields) == {"caption": "c", "film": 3, "more": [1]}
