"""The gate for tables that others wrote: comma or tab separated text, kept exactly or refused with line numbers."""

import csv
import io
import stat
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asctool.errors import DataError
from asctool.storage.atomic import environment_failure

LARGEST_BYTES = 256 * 2**20  # of a table: some two million clips; a larger file is no table of clips
LISTED = 20  # problems told of one by one
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
DELIMITER_NAMES = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";"}
BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


@dataclass(frozen=True)
class Row:
    """A row: the line of the file it begins on (counted from 1) and its fields, all text."""

    line: int
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table as it stands in the file."""

    path: Path
    header: tuple[str, ...]
    rows: tuple[Row, ...]


def read_table(path: Path, delimiter: str | None = None) -> Table:
    """Read a table with a header; ``delimiter`` None takes comma or tab, whichever the header has.

    UTF-8, with or without a byte order mark; any line ends. Everything else is a DataError that names all its lines.
    """
    text = _decode(path, _read_bytes(path))
    header_line = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    if not header_line:
        raise DataError(f"{path}: the table is empty")
    separator = _delimiter(path, header_line, delimiter)
    lines, problems = _split(text, separator)
    (_, names), *records = lines or [(1, [])]
    header = tuple(name.strip() for name in names)
    problems = [*_header_problems(header), *_ragged(records, header, separator), *problems]
    if not problems and not records:
        problems = ["it has a header and no row"]
    _refuse(path, problems)
    return Table(path, header, tuple(Row(line, dict(zip(header, fields))) for line, fields in records))


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise DataError(f"{path}: {kind}, where a table was expected")
        if status.st_size > LARGEST_BYTES:
            raise DataError(f"{path}: {status.st_size / 2**20:.0f} MiB; a table has {LARGEST_BYTES >> 20} MiB at most")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path}: there is no such table") from error
    except OSError as error:
        raise environment_failure(error, path) from error


def _decode(path: Path, data: bytes) -> str:
    for mark, name in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            raise DataError(f'{path}: {name} (Excel calls it "Unicode text"); save it as "CSV UTF-8"')
    lines = data.splitlines(keepends=True)
    problems = [f"line {n}: a NUL byte; this is no text, or UTF-16" for n, line in enumerate(lines, 1) if b"\0" in line]
    for number, line in enumerate(lines, 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            problems.append(
                f"line {number}, byte {error.start + 1}: 0x{line[error.start]:02x} is not UTF-8; save it as UTF-8"
            )
    _refuse(path, problems)
    return data.decode("utf-8-sig")


def _delimiter(path: Path, header: str, given: str | None) -> str:
    """The separator: the one given, or that of the header; a semicolon only when given."""
    if given:
        separator = DELIMITER_NAMES.get(given, given)
        if separator not in DELIMITERS:
            raise DataError(f"{path}: unknown delimiter {given!r} (known: comma, tab, semicolon, |)")
        return separator
    if "," in header and "\t" in header:
        raise DataError(
            f"{path}: the header has commas and tabs; say which separates with --set delimiter=tab or comma"
        )
    if ";" in header and "," not in header and "\t" not in header:
        raise DataError(
            f"{path}: separated by semicolons (as Excel saves it in many countries); save it with commas or tabs, "
            "or say --set delimiter=semicolon"
        )
    return "\t" if "\t" in header else ","


def _split(text: str, separator: str) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """(line, fields) of every record that is not blank, and what stopped the reading, if anything did."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[tuple[int, list[str]]] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return records, []
        except csv.Error as error:
            return records, [f"line {line}: {_reason(str(error))}; what follows was not read"]
        if fields:
            records.append((line, fields))


def _reason(error: str) -> str:
    if "unexpected end of data" in error:
        return "a quote opens here and is never closed"
    if "field limit" in error:
        return f"a field of more than {csv.field_size_limit()} characters, or a quote that is never closed"
    return f"a quote closes inside a field ({error})"


def _header_problems(header: tuple[str, ...]) -> list[str]:
    repeated = [
        f"column {name!r} stands {n} times in the header" for name, n in Counter(header).items() if n > 1 and name
    ]
    return repeated + [f"column {number} has no name" for number, name in enumerate(header, 1) if not name]


def _ragged(records: list[tuple[int, list[str]]], header: tuple[str, ...], separator: str) -> list[str]:
    problems = []
    for line, fields in records:
        if len(fields) == len(header):
            continue
        others = [d for d in DELIMITERS if d != separator and separator.join(fields).count(d) == len(header) - 1 > 0]
        if others:
            problems.append(f"line {line}: separated by {DELIMITERS[others[0]]}, the header by {DELIMITERS[separator]}")
        else:
            problems.append(f"line {line}: {len(fields)} fields, the header has {len(header)}")
    return problems


def _refuse(path: Path, problems: list[str]) -> None:
    if len(problems) == 1:
        raise DataError(f"{path}: {problems[0]}")
    if problems:
        more = [f"... and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        raise DataError("\n  ".join([f"{path}: {len(problems)} problems:", *problems[:LISTED], *more]))
