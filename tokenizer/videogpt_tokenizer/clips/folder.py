"""A folder of clips is a data set: which files it has, and the caption of each.

    records = ClipFolder("my_clips")          # a sequence of ClipRecord(path, caption, fields)
    records.left_aside()                      # 1 of 9 files is left aside: 1 other suffix (notes.doc); or nothing

Captions come from the first of these that is there:
- a table `metadata.csv`, `.tsv`, `.jsonl` or `.parquet`, with a column of places and one of captions: only the clips
  that it names are used, in its order. It stands at the top, or one in each of several subfolders;
- `0001.txt`, or the key `caption` of `0001.json`, beside `0001.mp4`;
- the folder that the clip lies in: `playing_guitar/0001.mp4` has the caption "playing guitar";
- nothing: clips directly in the folder have the empty caption.
Without a table the folder is searched to any depth, in sorted order and through links, for videos and images of known
suffixes, also inside of tar files (see `tar_shards`); the folder that a tar file lies in is no caption.
No clip is opened. Refuses with a ValueError whatever would silently train on the wrong thing.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import overload

from videogpt_tokenizer.clips.clip import CLIP_SUFFIXES
from videogpt_tokenizer.clips.found import (
    TABLES,
    TEXT_SUFFIXES,
    ClipRecord,
    checked_caption,
    find_records,
    stems_of,
    why_not,
)
from videogpt_tokenizer.clips.tar_shards import TAR_SUFFIX, is_file_or_member
from videogpt_tokenizer.files.listing import Listing, in_order, stem_of, suffix_of
from videogpt_tokenizer.files.tables import read_table

__all__ = ["ClipFolder", "ClipRecord"]


class ClipFolder(Sequence[ClipRecord]):
    """The clips of a folder and their captions; the columns are those of its table, the second also a key of JSON.

    Raises:
        ValueError: there is no such folder, it holds no clip, it holds two tables, or a table, text or tar file is
            damaged, lacks a column, or names files that are not there or that lie outside of the folder.
    """

    def __init__(
        self, folder: str | os.PathLike[str], file_column: str = "file_name", caption_column: str = "caption"
    ) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            what = "is a file, not a folder" if self.folder.exists() else "there is no such folder"
            raise ValueError(f"{self.folder}: {what}; give a folder of clips")
        self._listing = Listing(self.folder)
        tables = _tables(self._listing)
        if tables:
            columns = {"file_column": file_column, "caption_column": caption_column}
            self._records = [record for table in tables for record in _of_table(self.folder / table, columns)]
            _leave_unnamed(self._listing, tables, {self.name_of(record) for record in self._records})
        else:
            self._records = find_records(self._listing, caption_column)
        if not self._records:
            told = self._listing.told()
            known = f"known suffixes are {' '.join(CLIP_SUFFIXES)}"
            raise ValueError(f"{self.folder}: holds no clips; {known}{f'; {told}' if told else ''}")

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

    @property
    def unused(self) -> Mapping[str, Sequence[str]]:
        """Places inside the folder that are left aside, by the reason why."""
        return self._listing.unused

    def left_aside(self, limit: int = 3) -> str:
        """What is left aside in one line, with so many names for each reason; empty where nothing is."""
        told = self._listing.told(limit)
        return f"{self.folder}: {told}" if told else ""


def _tables(listing: Listing) -> list[str]:
    """The tables to use: that of the folder itself, or else those below it that have none above them."""
    by_folder = defaultdict[str, list[str]](list)
    for place in listing.files:
        above, _, name = place.rpartition("/")
        if name in TABLES:
            by_folder[above].append(place)
    used: dict[str, str] = {}
    for folder in sorted(by_folder, key=lambda folder: len(PurePosixPath(folder).parts)):
        if any(above in used for above in ("", *map(str, PurePosixPath(folder).parents))):
            listing.leave("table in a subfolder", *by_folder[folder])
        elif len(by_folder[folder]) > 1:
            names = [place.rpartition("/")[2] for place in by_folder[folder]]
            both = "both " if len(names) == 2 else ""
            raise ValueError(f"{listing.folder / folder}: holds {both}{' and '.join(names)}; keep one")
        else:
            (used[folder],) = by_folder[folder]
    return sorted(used.values(), key=in_order)


def _of_table(table: Path, columns: Mapping[str, str]) -> Iterator[ClipRecord]:
    folder, missing, count = table.parent, [], 0
    file_column, caption_column = columns.values()
    for where, row in read_table(table, columns):
        name, caption = row[file_column], row[caption_column]
        place = PurePosixPath(name) if isinstance(name, str) else PurePosixPath()
        here = PurePath(place)  # by the rules of this system, too
        if not place.parts or place.is_absolute() or here.anchor or ".." in (*place.parts, *here.parts) or "\0" in name:
            raise ValueError(f"{table}, {where}: {file_column} is {name!r}; give a place inside the folder")
        record = ClipRecord(folder / name, checked_caption(caption, f"{table}, {where}", caption_column), row)
        count += 1
        if is_file_or_member(record.path):
            yield record
        else:
            missing.append(place.as_posix())
    if not count:
        raise ValueError(f"{table}: has no rows; write one a clip, or remove it to use every clip of the folder")
    if missing:
        named = ", ".join([*missing[:3], *(["..."] if len(missing) > 3 else [])])
        slashes = ", or write their places with / instead of \\" if "\\" in missing[0] else ""
        what = f"{len(missing)} of {count} clips are not there: {named}"
        raise ValueError(f"{table}: {what}; remove their rows or add the files{slashes}")


def _leave_unnamed(listing: Listing, tables: Sequence[str], used: set[str]) -> None:
    """Account for what lies beside the clips that tables name."""
    shards = {str(above) for name in used if f"{TAR_SUFFIX}/" in name for above in PurePosixPath(name).parents}
    told = {*used, *tables, *shards, *listing.unused.get("table in a subfolder", ())}
    by = PurePosixPath(tables[0]).name if len(tables) == 1 else "any table"
    stems = stems_of(listing.files)
    for place in listing.files:
        if place in told:
            continue
        if suffix_of(place) in (*CLIP_SUFFIXES, TAR_SUFFIX):
            listing.leave(f"not named in {by}", place)
        elif suffix_of(place) in TEXT_SUFFIXES and stem_of(place) in stems:
            listing.leave(f"caption beside {by}", place)
        else:
            listing.leave(why_not(place), place)
