"""Folders of clips: the three layouts, captions of every kind, and metadata that is wrong."""

import json
import shutil
from pathlib import Path

import pytest

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES
from videogpt_tokenizer.clips.folder import ClipFolder

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
