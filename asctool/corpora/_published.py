"""What readers of published corpora share: where the tree lies, tables with known columns, what is not there."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from asctool.corpora._corpus import existing_directory
from asctool.corpora._names import shortened
from asctool.errors import DataError
from asctool.storage.tables import Row, read_table

LISTED = 50  # missing files told of one by one
PARTIAL = "let it pass with --set allow_partial=true"


def find_tree(source: Path, *markers: str) -> Path:
    """The folder that holds a marker (a path inside it): the source or one in it. DataError where none does."""
    source = existing_directory(source)
    for folder in (source, *visible_folders(source)):
        if any((folder / marker).exists() for marker in markers):
            return folder
    raise DataError(f"{source}: neither it nor a folder in it holds {' or '.join(markers)}")


def visible_folders(folder: Path) -> list[Path]:
    """Folders directly inside, without hidden ones, in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_columns(path: Path, columns: Sequence[str]) -> tuple[Row, ...]:
    """The rows of a table that has these columns; DataError where it lacks one."""
    table = read_table(path)
    if missing := [name for name in columns if name not in table.header]:
        raise DataError(f"{path}: has no column {', '.join(missing)}; its columns are {', '.join(table.header)}")
    return table.rows


def repeated(table: str, rows: Iterable[Row], column: str) -> list[str]:
    """A problem for each name that stands in a table twice."""
    lines: dict[str, int] = {}
    return [
        f"{table} lines {lines[name]} and {row.line}: {name} twice"
        for row in rows
        if lines.setdefault(name := row.fields[column], row.line) != row.line
    ]


def absent(root: Path, files: Sequence[str]) -> list[str]:
    """Those of some files that do not lie below the root."""
    return [name for name in files if not (root / name).is_file()]


def absent_problems(names: Sequence[str], total: int) -> list[str]:
    """What to say of files that are missing."""
    more = [f"... and {len(names) - LISTED} more"] if len(names) > LISTED else []
    head = [f"{len(names)} of {total} audio files are missing; unpack all archives, or {PARTIAL}"] if names else []
    return [*head, *(f"{name} is missing" for name in names[:LISTED]), *more]


def absent_warnings(names: Sequence[str], total: int) -> list[str]:
    """What to say of files whose absence was let pass."""
    return [f"{len(names)} of {total} audio files are missing and left out: {shortened(names)}"] if names else []


def unnamed_warnings(folder: Path, named: Iterable[str], table: str) -> list[str]:
    """A warning of files in a folder that its table does not name."""
    known = set(named)
    files = folder.iterdir() if folder.is_dir() else ()
    others = sorted(p.name for p in files if p.name not in known and not p.name.startswith("."))
    return [f"{folder.name}/ holds files that {table} does not name: {shortened(others)}"] if others else []


def count_problems(counts: dict[str, int], official: dict[str, int]) -> list[str]:
    """Where counts are not the official ones."""
    return [
        f"{what}: {counts.get(what, 0)}, not {number}"
        for what, number in official.items()
        if counts.get(what, 0) != number
    ]
