"""A folder of clips is a data set: which files it has, and the caption of each.

    records = ClipFolder("my_clips")          # a sequence of ClipRecord(path, caption, fields)

Three layouts, told apart by what is there:
- `metadata.csv` or `metadata.jsonl` with one row a clip: a column with the file's place inside the folder and
  a column with the caption (the Hugging Face convention); only the clips it names are used, in its order;
- class folders: `playing_guitar/0001.mp4` has the caption "playing guitar";
- clips directly in the folder: their caption is empty.
Without metadata the folder is searched to any depth, in sorted order, for videos and images of known
suffixes. No clip is opened. Refuses with a ValueError whatever would silently train on the wrong thing.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, overload

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES
from videogpt_tokenizer.files.json_files import parse_json

TABLES = ("metadata.csv", "metadata.jsonl")
LONGEST_CAPTION = 2**31 - 1  # the csv module alone stops at 131,072 characters


@dataclass(frozen=True)
class ClipRecord:
    path: Path
    caption: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    """The whole row of the metadata, by column; empty where there is none."""


class ClipFolder(Sequence[ClipRecord]):
    """The clips of a folder and their captions; the columns are those of the metadata.

    Raises:
        ValueError: there is no such folder, it holds no clip, it holds both kinds of metadata, or its metadata is not
            UTF-8, is malformed, lacks a column, names files that are not there or that lie outside of the folder.
    """

    def __init__(
        self, folder: str | os.PathLike[str], file_column: str = "file_name", caption_column: str = "caption"
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            what = "is a file, not a folder" if self.folder.exists() else "there is no such folder"
            raise ValueError(f"{self.folder}: {what}; give a folder of clips")
        tables = [path for name in TABLES if (path := self.folder / name).exists()]
        if len(tables) == 2:
            raise ValueError(f"{self.folder}: holds both metadata.csv and metadata.jsonl; keep one")
        columns = file_column, caption_column
        self._records = _of_table(self.folder, tables[0], *columns) if tables else _of_files(self.folder)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> ClipRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[ClipRecord]: ...
    def __getitem__(self, index: int | slice) -> ClipRecord | list[ClipRecord]:
        return self._records[index]

    def captions(self) -> list[str]:
        return [record.caption for record in self._records]

    def name_of(self, record: ClipRecord) -> str:
        """The clip's place inside the folder, the same on every machine."""
        return record.path.relative_to(self.folder).as_posix()


def _of_files(folder: Path) -> list[ClipRecord]:
    files = (path for path in folder.rglob("*") if path.suffix.lower() in CLIP_SUFFIXES)
    places = sorted(path.relative_to(folder) for path in files)
    records = [
        ClipRecord(folder / place, place.parent.name.replace("_", " ").replace("-", " "))
        for place in places
        if not any(part.startswith(".") for part in place.parts) and (folder / place).is_file()
    ]
    if not records:
        raise ValueError(f"{folder}: holds no clips; known suffixes are {' '.join(CLIP_SUFFIXES)}")
    return records


def _of_table(folder: Path, table: Path, file_column: str, caption_column: str) -> list[ClipRecord]:
    records = []
    for line, row in (_csv_rows if table.suffix == ".csv" else _json_rows)(table, _utf8(table)):
        for key, column in (("file_column", file_column), ("caption_column", caption_column)):
            if column not in row:
                raise ValueError(
                    f"{table}, line {line}: has no column {column!r}; there are {', '.join(map(repr, row))}: "
                    f"name one with {key} (--{key.replace('_', '-')})"
                )
        name, caption = row[file_column], row[caption_column]
        place = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
        if not place.parts or place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{table}, line {line}: {file_column} is {name!r}; give a place inside the folder")
        if not isinstance(caption, str):
            raise ValueError(f"{table}, line {line}: {caption_column} is {caption!r}; give text, which may be empty")
        records.append(ClipRecord(folder / name, caption, row))
    if not records:
        raise ValueError(f"{table}: has no rows; write one a clip, or remove it to use every clip of the folder")
    missing = [record.path.relative_to(folder).as_posix() for record in records if not record.path.is_file()]
    if missing:
        named = ", ".join([*missing[:3], *(["..."] if len(missing) > 3 else [])])
        what = f"{len(missing)} of {len(records)} clips are not there: {named}"
        raise ValueError(f"{table}: {what}; remove their rows or add the files")
    return records


def _utf8(table: Path) -> str:
    data = table.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{table}: is not UTF-8 at byte {error.start}, line {line}; save it as UTF-8") from error


def _csv_rows(table: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row. A row must have as many cells as the header."""
    usual_limit = csv.field_size_limit(LONGEST_CAPTION)
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = next(reader, [])
        if len(set(header)) < len(header):
            raise ValueError(f"{table}, line 1: names a column twice: {', '.join(header)}; rename one")
        for cells in reader:
            if cells and len(cells) != len(header):
                raise ValueError(
                    f"{table}, line {reader.line_num}: has {len(cells)} cells and the header {len(header)}; "
                    "put a caption with commas or line breaks into double quotes"
                )
            if cells:
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.line_num}: is not sound CSV ({error})") from error
    finally:
        csv.field_size_limit(usual_limit)


def _json_rows(table: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and row. Blank lines are passed over."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            raise ValueError(f"{table}, line {number}: is not sound JSON ({what})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{table}, line {number}: is not a JSON object; write {{...}} with a key for each column")
        yield number, row
