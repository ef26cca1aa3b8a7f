"""The rows of a table, as any program writes it: CSV, TSV, JSON lines or Parquet.

    for where, row in read_table(Path("metadata.csv"), {"file_column": "file_name", "caption_column": "caption"}):
        ...                                      # "line 7", as an editor counts; {"file_name": "a.mp4", ...}

Cells of CSV are parted by commas, semicolons or tabs: what the header shows. Parquet is read by pyarrow, which is
imported with the first such table. Refuses, with a ValueError that names the table and the line: text that is not
UTF-8, rows that do not fit the header, JSON that is not sound, a wanted column that is not there.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from videogpt_tokenizer.files.json_files import parse_json

Rows = Iterator[tuple[str, dict[str, Any]]]

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LONGEST_CELL = 2**31 - 1  # the csv module alone stops at 131,072 characters
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_table(table: Path, wanted: Mapping[str, str]) -> Rows:
    """Where each row stands, and the row by column.

    Args:
        wanted: The columns that must be there, by the settings that name them.
    """
    return _READERS[table.suffix](table, wanted)


def utf8_text(data: bytes, place: Path | str) -> str:
    """The text of a file, without a byte order mark; ValueError where it is not UTF-8."""
    if data.startswith(UTF16_MARKS) or (len(data) > 3 and (data[1:4:2] == b"\0\0" or data[0:4:2] == b"\0\0")):
        raise ValueError(f"{place}: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{place}: is not UTF-8 at byte {error.start}, line {line}; save it as UTF-8") from error


def _csv_rows(table: Path, wanted: Mapping[str, str]) -> Rows:
    text, above = utf8_text(table.read_bytes(), table), 0
    told = re.match(r'"?sep=(.)"?(\r\n?|\n)', text, re.IGNORECASE)
    if told:  # which Excel writes, or asks for, as a line of its own
        text, above = text[told.end() :], 1
    delimiter = told[1] if told else _delimiter(text, list(wanted.values()), tabs_first=table.suffix == ".tsv")
    csv.field_size_limit(LONGEST_CELL)  # one for all threads, so that it is not set back
    yield from _rows_of_text(table, text, delimiter, above, wanted)


def _rows_of_text(table: Path, text: str, delimiter: str, above: int, wanted: Mapping[str, str]) -> Rows:
    """Rows below a header. Empty ones, which spreadsheets write below a table, are passed over."""
    # Lines end where csv says, at \n, \r and \r\n: str.splitlines would end them at form feeds and U+2028, too.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        where = f"line {above + reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            is_open = "unexpected end" in str(error)
            remedy = "close the double quote that opens here" if is_open else "write a double quote in a cell twice"
            raise ValueError(f"{table}, {where}: is not sound CSV ({error}); {remedy}") from error
        if not any(cells):
            continue
        if not header:
            header = _without_empty_tail(cells, 0)
            if len(set(header)) < len(header):
                raise ValueError(f"{table}, {where}: names a column twice: {', '.join(header)}; rename one")
            _check_columns(table, where, header, wanted)
            continue
        cells = _without_empty_tail(cells, len(header))
        if len(cells) != len(header):
            many = f"put a caption with {DELIMITERS.get(delimiter, repr(delimiter))} or line breaks into double quotes"
            remedy = many if len(cells) > len(header) else "write every cell, empty ones too"
            raise ValueError(f"{table}, {where}: has {len(cells)} cells and the header {len(header)}; {remedy}")
        yield where, dict(zip(header, cells, strict=True))


def _without_empty_tail(cells: list[str], least: int) -> list[str]:
    """Spreadsheets end every line with the empty cells of columns that were once touched."""
    while len(cells) > least and not cells[-1]:
        cells = cells[:-1]
    return cells


def _delimiter(text: str, wanted: Collection[str], *, tabs_first: bool) -> str:
    """The one by which the header has the wanted columns, or the most of them, or the most columns."""

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
            header = next((cells for cells in rows if any(cells)), [])
        except csv.Error:
            header = []
        return len(set(header) & set(wanted)), len(header)

    return max(sorted(DELIMITERS, key="\t,;|".index) if tabs_first else DELIMITERS, key=fit)  # the first of equals


def _json_rows(table: Path, wanted: Mapping[str, str]) -> Rows:
    """Blank lines are passed over."""
    for number, line in enumerate(utf8_text(table.read_bytes(), table).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"line {number}"
        row = json_of(line, f"{table}, {where}")
        if not isinstance(row, dict):
            raise ValueError(f"{table}, {where}: is not a JSON object; write {{...}} with a key for each column")
        _check_columns(table, where, row, wanted)
        yield where, row


def json_of(text: str, place: Path | str) -> Any:
    """What a text says in JSON; ValueError naming the place where it is not sound."""
    try:
        return parse_json(text)
    except ValueError as error:
        what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise ValueError(f"{place}: is not sound JSON ({what})") from error


def _parquet_rows(table: Path, wanted: Mapping[str, str]) -> Rows:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"{table}: Parquet is read by pyarrow, which is not here: pip install pyarrow") from error
    batches = []
    with table.open("rb") as opened:
        try:
            file = parquet.ParquetFile(opened)
            _check_columns(table, "its schema", file.schema_arrow.names, wanted)
            for batch in file.iter_batches(batch_size=1024):
                for index, column in enumerate(batch.schema):  # times can be finer than Python knows
                    if pyarrow.types.is_temporal(column.type):
                        batch = batch.set_column(index, column.name, batch.column(index).cast(pyarrow.string()))
                batches.append(batch.to_pylist())
        except (pyarrow.ArrowException, OSError, ValueError, ArithmeticError) as error:
            what = " ".join(str(error).split())
            raise ValueError(f"{table}: is not sound Parquet ({what}); write or copy it again") from error
    for number, row in enumerate(chain.from_iterable(batches), start=1):
        yield f"row {number}", row


def _check_columns(table: Path, where: str, columns: Collection[str], wanted: Mapping[str, str]) -> None:
    for setting, column in wanted.items():
        if column not in columns:
            there = ", ".join(map(repr, columns))
            remedy = f"name one with {setting} (--{setting.replace('_', '-')})"
            raise ValueError(f"{table}, {where}: has no column {column!r}; there are {there}: {remedy}")


_READERS: dict[str, Callable[[Path, Mapping[str, str]], Rows]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_rows,
    ".parquet": _parquet_rows,
}
TABLE_SUFFIXES = tuple(_READERS)
