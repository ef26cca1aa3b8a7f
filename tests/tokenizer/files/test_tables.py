"""Tables as other programs write them: any text comes back, and what is wrong is named with its line and a remedy."""

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from videogpt_tokenizer.files.tables import read_table

WANTED = {"file_column": "file_name", "caption_column": "caption"}
HEADER = ["file_name", "caption", "note"]
LINE_ENDS_OF_PYTHON_ALONE = ["\u2028", "\u2029", "\x85", "\f", "\v", "\x1c", "\x1d", "\x1e"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_table(path, WANTED)]


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# UTF-8 holds no surrogates, and the csv of older Pythons no zero.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
CELLS = st.tuples(TEXT.filter(bool), TEXT, TEXT)


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(CELLS, max_size=5),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    suffix=st.sampled_from([".csv", ".tsv"]),
    mark=st.booleans(),
)
def test_what_csv_writes_comes_back(tmp_path_factory, table, delimiter, quoting, suffix, mark) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting).writerows([HEADER, *table])
    path = tmp_path_factory.mktemp("csv") / f"metadata{suffix}"
    written(path, text.getvalue().encode("utf-8-sig" if mark else "utf-8"))
    assert [tuple(row.values()) for row in rows(path)] == table


@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, max_size=5), st.booleans())
def test_what_json_and_arrow_write_comes_back(tmp_path_factory, table, ascii_only) -> None:
    folder, dicts = tmp_path_factory.mktemp("rows"), [dict(zip(HEADER, cells, strict=True)) for cells in table]
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in dicts)
    assert rows(written(folder / "metadata.jsonl", lines)) == dicts
    columns = {name: pyarrow.array([row[name] for row in dicts], pyarrow.string()) for name in HEADER}
    parquet.write_table(pyarrow.table(columns), folder / "metadata.parquet", row_group_size=2)
    assert rows(folder / "metadata.parquet") == dicts


@pytest.mark.parametrize("letter", [*LINE_ENDS_OF_PYTHON_ALONE, "\r", "\n", "\r\n"])
def test_a_cell_may_hold_any_line_break(tmp_path: Path, letter: str) -> None:
    cell = f"left{letter}right" if letter in LINE_ENDS_OF_PYTHON_ALONE else f'"left{letter}right"'
    path = written(tmp_path / "metadata.csv", f"file_name,caption\na.mp4,{cell}\nb.mp4,plain\n")
    assert [row["caption"] for row in rows(path)] == [f"left{letter}right", "plain"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter, told", [*((d, "") for d in ",;\t|"), (";", "sep=;"), (":", '"sep=:"')])
def test_line_ends_delimiters_and_excels_first_line(tmp_path: Path, end: str, delimiter: str, told: str) -> None:
    header, row = f"file_name{delimiter}caption{delimiter}", f'a.mp4{delimiter}"x, y; z"'
    lines = [*([told] if told else []), header, "", row]
    path = written(tmp_path / "metadata.csv", end.join([*lines, delimiter * 2, ""]))
    assert list(read_table(path, WANTED)) == [(f"line {len(lines)}", {"file_name": "a.mp4", "caption": "x, y; z"})]


def test_an_empty_line_above_the_header_hides_no_delimiter(tmp_path: Path) -> None:
    path = written(tmp_path / "metadata.csv", "\n \nfile_name;caption\na.mp4;x\n".replace(" ", ";;"))
    assert [row for _, row in read_table(path, WANTED)] == [{"file_name": "a.mp4", "caption": "x"}]


def test_two_tables_may_be_read_in_turns(tmp_path: Path) -> None:
    text = "file_name,caption\n" + "a.mp4," + "x" * 200_000 + "\nb.mp4,y\n" + "c.mp4," + "z" * 200_000 + "\n"
    one, two = (read_table(written(tmp_path / name, text), WANTED) for name in ("a.csv", "b.csv"))
    assert [next(one)[0], *(where for where, _ in two), *(where for where, _ in one)] == [
        *("line 2", "line 2", "line 3", "line 4", "line 3", "line 4")
    ]


def test_a_header_by_other_names_is_parted_where_it_has_most_columns(tmp_path: Path) -> None:
    path = written(tmp_path / "metadata.csv", "video;text, in words;note\na.mp4;x;y\n")
    (row,) = [row for _, row in read_table(path, {"file_column": "video", "caption_column": "text, in words"})]
    assert row["note"] == "y"
    with pytest.raises(ValueError, match="line 1: has no column 'file_name'; there are 'video', 'text, in words'"):
        rows(path)


@pytest.mark.parametrize(
    "content, message",
    [
        # The line is the first of the row, as an editor counts; the remedy is for what is wrong.
        ("file_name,caption\na.mp4,x\nb.mp4,red, green\n", "line 3: has 3 cells and the header 2; .* with commas or"),
        ('file_name;caption\na.mp4;"1\n2\n3"\n\nb.mp4;red; green\n', "line 6: has 3 cells .* with semicolons or line"),
        ("file_name\tcaption\na.mp4\tx\ty\n", "line 2: has 3 cells .* with tabs or line breaks into double quotes"),
        ("file_name,caption\n\n\na.mp4\n", "line 4: has 1 cells and the header 2; write every cell"),
        ("sep=;\r\nfile_name;caption\r\na.mp4\r\n", "line 3: has 1 cells and the header 2; write every cell"),
        ('file_name,caption\na.mp4,"1\n2"\nb.mp4,"open\nc.mp4,x\n', "line 4: .*close the double quote that opens here"),
        ('file_name,caption\na.mp4,"a "big" cat"\n', "line 2: is not sound CSV .*write a double quote in a cell twice"),
        ('file_name,caption\na.mp4,"a \\"big\\" cat"\n', "line 2: is not sound CSV .*write a double quote in a cell"),
        ("a.mp4,a red circle\n", "line 1: has no column 'file_name'; there are 'a.mp4', 'a red circle'"),
        ("file_name:caption\na.mp4:x\n", r"line 1: has no column 'file_name'; there are 'file_name:caption'"),
        ("file_name,caption,caption\na.mp4,x,y\n", "line 1: names a column twice"),
        ("file_name,caption\na.mp4,x\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("file_name,caption\na.mp4,x\n".encode("utf-16-le"), "is UTF-16; save it as UTF-8"),
        ("file_name,caption\na.mp4,x\n".encode("utf-16-be"), "is UTF-16; save it as UTF-8"),
        ("file_name,caption\na.mp4,caf\xe9\n".encode("latin-1"), "is not UTF-8 at byte 27, line 2; save it as UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_csv_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = written(tmp_path / "metadata.csv", content)
    with pytest.raises(ValueError, match=rf"metadata\.csv(, |: ){message}") as caught:
        rows(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"file_name": "a.mp4", "caption": "x"}\n\n{"file_\n', "line 3: is not sound JSON .*at column"),
        ('[{"file_name": "a.mp4", "caption": "x"}]\n', "line 1: is not a JSON object"),
        ('{"file_name": "a.mp4", "text": "x"}\n', "line 1: has no column 'caption'; there are 'file_name', 'text'"),
        ('{"file_name": "a.mp4", "caption": "x"}\n'.encode("utf-16"), "is UTF-16"),
        ("[" * 100_000, "line 1: is not sound JSON .*nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_json_lines_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"metadata\.jsonl(, |: ){message}"):
        rows(written(tmp_path / "metadata.jsonl", content))


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-9], lambda data: b"text" * 9,
                                    lambda data: data[:40] + bytes(99) + data[139:]])  # fmt: skip
def test_damaged_parquet_is_refused_in_one_line(tmp_path: Path, damage) -> None:
    path = tmp_path / "metadata.parquet"
    parquet.write_table(pyarrow.table({"file_name": ["a.mp4"] * 99, "caption": list(map(str, range(99)))}), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"metadata\.parquet: is not sound Parquet") as caught:
        rows(path)
    assert "\n" not in str(caught.value)


def test_parquet_needs_its_columns_and_pyarrow(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "metadata.parquet"
    parquet.write_table(pyarrow.table({"video": ["a.mp4"], "caption": ["x"]}), path)
    with pytest.raises(
        ValueError, match=r"metadata\.parquet, its schema: has no column 'file_name'; there are 'video'"
    ):
        rows(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"metadata\.parquet: Parquet is read by pyarrow.*pip install pyarrow"):
        rows(path)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_any_fineness_are_text(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "metadata.parquet"
    times = pyarrow.array([1, None], pyarrow.timestamp(unit))
    parquet.write_table(pyarrow.table({"file_name": ["a.mp4"] * 2, "caption": ["x"] * 2, "at": times}), path)
    first, second = [row["at"] for row in rows(path)]
    assert first.startswith("1970-01-01 00:00:0") and second is None


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text('filename_cpto,;\t"\n\r=\\{}[]:\0\ufeffé', max_size=60).map(str.encode),
        st.text('",;\t\n\r{}ax', max_size=40).map(lambda text: b"file_name,caption\n" + text.encode()),
    ),
    st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet"]),
)
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, data: bytes, suffix: str) -> None:
    path = written(tmp_path_factory.mktemp("bytes") / f"metadata{suffix}", data)
    try:
        rows(path)
    except ValueError as error:
        assert str(path) in str(error)
