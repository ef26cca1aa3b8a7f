"""Folders of clips: the three layouts, captions of every kind, and metadata that is wrong."""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES, Clip
from videogpt_tokenizer.clips.folder import TABLES, ClipFolder

CAPTIONS = ["", "红色的圆向左移动", "a 🐈 on a 🛹", 'she said "go", then left\nat once', "word " * 40_000]


@pytest.fixture
def folder(tmp_path: Path, clip_file: Path) -> Path:
    """Three clips in a folder of their own."""
    for name in ("b.mp4", "a.mp4", "c.mp4"):
        shutil.copy(clip_file, tmp_path / name)
    return tmp_path


def test_plain_folder_is_sorted_and_has_no_captions(folder: Path) -> None:
    (folder / "notes.txt").write_text("not a clip")
    (folder / ".b.mp4.partial-1.mp4").write_bytes(b"half")
    records = ClipFolder(folder)
    assert [record.path.name for record in records] == ["a.mp4", "b.mp4", "c.mp4"]
    assert records.captions() == ["", "", ""]


def test_folder_names_are_captions_at_any_depth(folder: Path) -> None:
    for place in ("playing_guitar/1.mp4", "train/ice-skating/2.MP4", "train/ice-skating/3.png"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "a.mp4", folder / place)
    found = {records.name_of(record): record.caption for records in [ClipFolder(folder)] for record in records}
    assert found == {
        "a.mp4": "",
        "b.mp4": "",
        "c.mp4": "",
        "playing_guitar/1.mp4": "playing guitar",
        "train/ice-skating/2.MP4": "ice skating",
        "train/ice-skating/3.png": "ice skating",
    }


@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_any_caption_comes_back(folder: Path, kind: str, caption: str) -> None:
    if kind == "csv":
        quoted = '"' + caption.replace('"', '""') + '"'
        text = f"file_name,caption,label\nb.mp4,{quoted},7\na.mp4,plain,8\n"
    else:
        rows = [("b.mp4", caption), ("a.mp4", "plain")]
        text = "".join(json.dumps({"file_name": f, "caption": c, "label": 7}) + "\n\n" for f, c in rows)
    (folder / f"metadata.{kind}").write_text(text, encoding="utf-8")
    records = ClipFolder(folder)
    assert [record.path.name for record in records] == ["b.mp4", "a.mp4"]
    assert records.captions() == [caption, "plain"]
    assert str(records[0].fields["label"]) == "7"


def test_byte_order_mark_and_windows_line_ends(folder: Path) -> None:
    (folder / "metadata.csv").write_bytes("\ufefffile_name,caption\r\na.mp4,café\r\n".encode())
    assert ClipFolder(folder).captions() == ["café"]


def test_columns_can_be_chosen(folder: Path) -> None:
    (folder / "metadata.csv").write_text("video,text,caption\na.mp4,this one,not this one\n")
    records = ClipFolder(folder, file_column="video", caption_column="text")
    assert (records[0].path.name, records[0].caption) == ("a.mp4", "this one")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("metadata.csv", b"file_name,text\na.mp4,x\n",
         "line 1: has no column 'caption'; there are 'file_name', 'text': .*--caption-column"),
        ("metadata.csv", b"file_name,caption,caption\na.mp4,x,y\n", "names a column twice"),
        ("metadata.csv", b"video,caption\na.mp4,x\n", "no column 'file_name'; there are 'video', .*--file-column"),
        ("metadata.csv", b"file_name,caption\na.mp4,x\nz1.mp4,x\nz2.mp4,x\nz3.mp4,x\nz4.mp4,x\n",
         r"4 of 5 clips are not there: z1.mp4, z2.mp4, z3.mp4, \.\.\.; remove their rows"),
        ("metadata.csv", b"file_name,caption\na.mp4,x\nb.mp4,caf\xe9\n", "not UTF-8 at byte 35, line 3"),
        ("metadata.csv", b"file_name,caption\na.mp4,red, green\n", "line 2: has 3 cells and the header 2"),
        ("metadata.csv", b'file_name,caption\na.mp4,"open\n', "not sound CSV"),
        ("metadata.csv", b"file_name,caption\n../a.mp4,x\n", "line 2: file_name is '../a.mp4'"),
        ("metadata.csv", b"file_name,caption\n/etc/hosts,x\n", "line 2: file_name is '/etc/hosts'"),
        ("metadata.csv", b"file_name,caption\n,x\n", "line 2: file_name is ''"),
        ("metadata.csv", b"file_name,caption\n", "has no rows"),
        ("metadata.csv", b"", "has no rows"),
        ("metadata.jsonl", b'{"file_name": "a.mp4", "caption": "x"}\n{"file_\n', "line 2: is not sound JSON"),
        ("metadata.jsonl", b'["a.mp4", "x"]\n', "line 1: is not a JSON object"),
        ("metadata.jsonl", b'{"file_name": "a.mp4", "caption": 5}\n', "line 1: caption is 5"),
        ("metadata.jsonl", b'{"file_name": null, "caption": "x"}\n', "line 1: file_name is None"),
    ],
)  # fmt: skip
def test_wrong_metadata_is_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        ClipFolder(folder)


def test_two_tables_are_refused(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,caption\na.mp4,x\n")
    (folder / "metadata.jsonl").write_text("{}")
    with pytest.raises(ValueError, match="both metadata.csv and metadata.jsonl"):
        ClipFolder(folder)


def test_no_folder_and_no_clips_are_refused(tmp_path: Path, clip_file: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        ClipFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is a file, not a folder"):
        ClipFolder(clip_file)
    with pytest.raises(ValueError, match="holds no clips; known suffixes are .*" + ".*".join(CLIP_SUFFIXES)):
        ClipFolder(tmp_path)


def test_semicolons_and_strange_line_breaks_of_the_cases(folder: Path) -> None:
    (folder / "metadata.csv").write_bytes("file_name,caption\r\na.mp4,left\u2028right\r\nb.mp4,plain\r\n".encode())
    assert ClipFolder(folder).captions() == ["left\u2028right", "plain"]
    (folder / "metadata.csv").write_bytes(b"file_name;caption\r\na.mp4;red, green\r\nb.mp4;plain\r\n")
    assert ClipFolder(folder).captions() == ["red, green", "plain"]


ROWS = [{"file_name": "b.mp4", "caption": "bee", "film": "x"}, {"file_name": "./a.mp4", "caption": "", "film": "y"}]


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("name", TABLES)
def test_every_kind_of_table_at_the_top(folder: Path, name: str) -> None:
    write_table(folder / name, ROWS)
    for place in ("a.txt", "c.txt", "notes.doc", "sub/d.mp4"):
        (folder / place).parent.mkdir(exist_ok=True)
        (folder / place).write_text("x")
    write_table(folder / "sub" / "metadata.csv", [{"file_name": "d.mp4", "caption": "not this"}])
    records = ClipFolder(folder)
    assert [(records.name_of(record), record.caption) for record in records] == [("b.mp4", "bee"), ("a.mp4", "")]
    assert [record.fields["film"] for record in records] == ["x", "y"]
    assert records.unused == {
        "table in a subfolder": ["sub/metadata.csv"],
        f"caption beside {name}": ["a.txt", "c.txt"],
        f"not named in {name}": ["c.mp4", "sub/d.mp4"],
        "other suffix": ["notes.doc"],
    }
    assert records.left_aside().startswith(f"{folder}: 6 of 9 files are left aside: 2 caption beside {name} (a.txt, ")


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_subfolders_are_used_together(folder: Path, name: str) -> None:
    for part in ("train", "validation", "train/inner"):
        (folder / part).mkdir()
        shutil.copy(folder / "a.mp4", folder / part / "1.mp4")
        write_table(folder / part / name, [{"file_name": "1.mp4", "caption": part}])
    records = ClipFolder(folder)
    found = {records.name_of(record): record.caption for record in records}
    assert found == {"train/1.mp4": "train", "validation/1.mp4": "validation"}
    assert records.unused["table in a subfolder"] == [f"train/inner/{name}"]
    assert records.unused["not named in any table"] == ["a.mp4", "b.mp4", "c.mp4", "train/inner/1.mp4"]


@pytest.mark.parametrize("names", [TABLES[:2], TABLES[1:3], TABLES[2:], TABLES])
@pytest.mark.parametrize("part", [".", "train"])
def test_two_tables_of_any_kind_are_refused(folder: Path, names: tuple[str, ...], part: str) -> None:
    (folder / part).mkdir(exist_ok=True)
    for name in names:
        write_table(folder / part / name, ROWS)
    with pytest.raises(ValueError, match=f"holds .*{sorted(names)[0]} and .*; keep one"):
        ClipFolder(folder)


def test_a_table_may_name_members_of_tar_files(folder: Path) -> None:
    with tarfile.open(folder / "s.tar", "w") as archive:
        archive.add(folder / "a.mp4", "in/1.mp4")
    write_table(folder / "metadata.csv", [{"file_name": "s.tar/in/1.mp4", "caption": "packed"}])
    records = ClipFolder(folder)
    assert records.captions() == ["packed"] and len(Clip.read(records[0].path)) == 9
    assert records.unused == {"not named in metadata.csv": ["a.mp4", "b.mp4", "c.mp4"]}
    write_table(folder / "metadata.csv", [{"file_name": "s.tar/in/2.mp4", "caption": "packed"}])
    with pytest.raises(ValueError, match="1 of 1 clips are not there: s.tar/in/2.mp4"):
        ClipFolder(folder)


def test_backslashes_and_half_letters_are_told(folder: Path) -> None:
    write_table(folder / "metadata.csv", [{"file_name": "sub\\a.mp4", "caption": "x"}])
    with pytest.raises(ValueError, match=r"write their places with / instead of \\"):
        ClipFolder(folder)
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").write_text('{"file_name": "a.mp4", "caption": "half \\ud83d"}\n')
    with pytest.raises(ValueError, match=r"metadata\.jsonl, line 1: caption is .* half a letter of two"):
        ClipFolder(folder)


def test_class_folders_may_be_links(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("cat", "dog"):
        (elsewhere / name).mkdir()
        shutil.copy(folder / "a.mp4", elsewhere / name / "1.mp4")
        (folder / f"a_{name}").symlink_to(elsewhere / name)
    (elsewhere / "cat" / "loop").symlink_to(elsewhere / "cat")
    records = ClipFolder(folder)
    assert records.captions() == ["", "a cat", "a dog", "", ""]
    assert records.unused == {"link to a folder that is read already": ["a_cat/loop"]}
