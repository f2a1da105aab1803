"""The gate for tables: what passes is kept exactly, what does not is told with its line."""

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asctool.errors import DataError
from asctool.storage.tables import read_table


def write(folder: Path, data: bytes | str) -> Path:
    path = folder / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def fields(path: Path, delimiter: str | None = None) -> list[dict[str, str]]:
    return [dict(row.fields) for row in read_table(path, delimiter).rows]


def test_values_stay_text(tmp_path: Path) -> None:
    path = write(tmp_path, "id,value\n007,NA\n7,1e5\n=1+1, x \n")
    assert [tuple(row.values()) for row in fields(path)] == [("007", "NA"), ("7", "1e5"), ("=1+1", " x ")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_line_ends_byte_order_mark_and_tabs_change_nothing(
    tmp_path: Path, end: str, mark: bytes, separator: str
) -> None:
    text = end.join(["id,label", "a,dog", "b,cat", ""]).replace(",", separator)
    table = read_table(write(tmp_path, mark + text.encode()))
    assert table.header == ("id", "label")
    assert [(row.line, dict(row.fields)) for row in table.rows] == [
        (2, {"id": "a", "label": "dog"}),
        (3, {"id": "b", "label": "cat"}),
    ]


def test_quoted_fields_hold_separators_and_line_breaks(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, 'id,label\na,"x, ""y""\nz"\n\nb,c\n'))
    assert [(row.line, row.fields["label"]) for row in table.rows] == [(2, 'x, "y"\nz'), (5, "c")]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "empty"),
        (b"\n\n", "empty"),
        (b"id,label\n", "no row"),
        (b"id;label\na;b\n", "semicolons"),
        (b"id,label\tx\na,b\n", "commas and tabs"),
        (b"id,label\na,b\nc\td\n", "line 3: separated by tabs"),
        (b"id,label\na;b\n", "line 2: separated by semicolons"),
        (b"id,label\na\nb,c\nd,e,f\n", r"(?s)line 2: 1 fields.*line 4: 3 fields"),
        (b"id,id\na,b\n", "'id' stands 2 times"),
        (b"id,\na,b\n", "column 2 has no name"),
        (b'id,label\na,b\n"c,d\ne,f\n', "line 3: a quote opens here"),
        (b'id,label\n"a"b,c\n', "line 2: a quote closes inside"),
        (b"id,label\na,\xe9\nb,c\n\xff,d\n", r"(?s)line 2, byte 3: 0xe9.*line 4, byte 1: 0xff"),
        (b"id,label\na,b\0\n", "line 2: a NUL"),
        ("id,label\na,b\n".encode("utf-16"), "UTF-16"),
        ("id,label\na,b\n".encode("utf-16-be"), "NUL byte.*UTF-16"),
        ("id,label\na,b\n".encode("utf-32"), "UTF"),
        (b"id,label\na," + b"x" * 140_000 + b"\n", "line 2: a field of more than 131072"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_table(write(tmp_path, data))


def test_a_delimiter_that_is_given_is_used(tmp_path: Path) -> None:
    path = write(tmp_path, "id;label\na;b,c\n")
    assert fields(path, "semicolon") == fields(path, ";") == [{"id": "a", "label": "b,c"}]
    with pytest.raises(DataError, match="unknown delimiter 'x'"):
        read_table(path, "x")


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.csv")
    for path, match in (("fifo.csv", "not a regular file"), ("", "a directory"), ("no.csv", "no such table")):
        with pytest.raises(DataError, match=match):
            read_table(tmp_path / path)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from(",\t"))
def test_whatever_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    path = write(tmp_path_factory.getbasetemp(), text.getvalue())
    assert [tuple(row.fields.values()) for row in read_table(path).rows] == rows
