"""import_posteriors: what another system said of the clips, from a csv (clip x class), to be fused and scored here."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.registry import unknown
from asctool.storage import atomic, locks, manifest, rebuild, settings
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import Tables
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.shards import Columns
from asctool.storage.store import check_output, write_rows
from asctool.storage.tables import Row, read_table

VERSION = 1
ID_COLUMNS = ("clip_id", "filename", "fname", "path")  # the first that is there; all but clip_id name audio files
LEFT_OUT = ("label", "scene_label")  # the class that a submission names beside its probabilities
SUM_TOLERANCE = 1e-3  # of a row's sum, as everywhere
LISTED = 20  # problems told of one by one
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class Settings:
    """How to read the table, and what is known of the system that made it."""

    kind: Literal["posterior", "tag"] = "posterior"  # tag: scores of several labels a clip, which sum to anything
    select: Literal["unknown", "last", "valid", "test"] = "unknown"  # what chose the system, told wherever it is shown
    normalise: bool = False  # divide every row by its sum
    allow_missing: bool = False  # test clips of a fold without a row
    delimiter: str | None = None  # comma, tab or semicolon; none: comma or tab, as the header has it

    def __post_init__(self) -> None:
        if self.normalise and self.kind == "tag":
            raise UsageError("--normalise makes rows sum to one, which tags need not")


@dataclass(frozen=True)
class _Entry:
    """A row that was read."""

    line: int
    clip_id: str
    fold: int
    start: float
    values: list[float]


def configure(values: dict[str, Any]) -> Settings:
    """The settings of the stage, from one mapping of names."""
    return settings.build(Settings, values)


def import_posteriors(
    table: Path,
    data: Path,
    output: Path,
    own: Settings,
    fold: int | None = None,
    system: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> bool:
    """Write the rows of a csv as a store of posteriors; False when they are there already.

    A column for the clip (clip_id, or filename, fname, path: its audio file), one for each class, and, where there
    are several, ``fold`` and ``start`` (seconds, of segments). DataError with the lines of all that does not fit.
    """
    check_output(output, table, data)
    directory = DataDirectory(data)
    tables = directory.tables
    found = read_table(table, own.delimiter)
    entries, level = _entries(table, found.header, found.rows, tables, fold)
    array = _checked(table, entries, own)
    subsets = _subsets(table, entries, tables, own.allow_missing)
    name = system or table.stem
    config = {"system": name, "fold": fold, **settings.as_dict(own)}
    inputs = {
        "data": directory.content(),
        "tables": manifest.hash_tables(tables),
        "csv": atomic.sha256(table.read_bytes()),
    }
    recipe = Recipe(own.kind, "import_posteriors", VERSION, config, inputs)
    n_bytes = of_rows(tables, len(entries), 4 * len(tables.classes), name)
    if rebuild.settled(output, recipe, force, dry_run, lambda: Estimate(n_bytes)):
        return False
    with locks.writer_lock(output):
        if rebuild.settled(output, recipe, force):
            return False  # by somebody else, meanwhile
        write_rows(
            output,
            recipe,
            tables,
            _columns(entries, array, subsets, tables, name),
            axes=["row", "class"],
            level=level,
            systems=[name],
            protocol={name: {"select": own.select, "imported from": table.name}},
            paths={"data": manifest.relative(data, output)},
        )
    return True


def _entries(
    table: Path, header: Sequence[str], rows: Sequence[Row], tables: Tables, fold: int | None
) -> tuple[list[_Entry], str]:
    """Every row, and whether they are of segments or of clips."""
    id_column = _check_header(table, header, tables.classes)
    by_name = _clips_by(id_column, tables)
    folds_of = _folds_of(tables, fold)
    has_fold, has_start = ("fold" in header and "fold" not in tables.classes), _has_start(header, tables)
    entries, problems = [], []
    for row in rows:
        try:
            clip_id = _clip(row.fields[id_column], id_column, by_name)
            of_row = _fold(row.fields["fold"]) if has_fold and fold is None else None
            start = _number("start", row.fields["start"]) if has_start else 0.0
            values = [_number(name, row.fields[name]) for name in tables.classes]
            entries.append(_Entry(row.line, clip_id, _which_fold(clip_id, of_row, folds_of), start, values))
        except DataError as error:
            problems.append(f"line {row.line}: {error}")
    _refuse(table, [*problems, *_doubles(entries)])
    return entries, "segment" if has_start else "clip"


def _check_header(table: Path, header: Sequence[str], classes: Sequence[str]) -> str:
    """The column that names the clips; DataError for classes without a column and columns that are nothing."""
    id_column = next((name for name in ID_COLUMNS if name in header and name not in classes), None)
    if id_column is None:
        raise DataError(f"{table}: no column for the clips ({', '.join(ID_COLUMNS)}); its columns are {header}")
    known = {*ID_COLUMNS, *LEFT_OUT, "fold", "start", *classes}
    problems = [unknown("column", name, sorted(known)) for name in header if name not in known]
    missing = [name for name in classes if name not in header]
    if missing:
        problems.append(f"{len(missing)} of {len(classes)} classes have no column: {', '.join(missing[:LISTED])}")
    _refuse(table, problems)
    return id_column


def _has_start(header: Sequence[str], tables: Tables) -> bool:
    return "start" in header and "start" not in tables.classes


def _clips_by(column: str, tables: Tables) -> dict[str, list[str]]:
    """What a table may call a clip, to the clips of that name."""
    out: dict[str, list[str]] = {}
    for clip in tables.clips:
        if not clip.is_copy:
            name = clip.clip_id if column == "clip_id" else PurePosixPath(clip.path).name
            out.setdefault(name, []).append(clip.clip_id)
    return out


def _clip(text: str, column: str, by_name: Mapping[str, Sequence[str]]) -> str:
    found = by_name.get(text if column == "clip_id" else PurePosixPath(text).name, [])
    if len(found) != 1:
        several = f"is the file of {len(found)} clips; name them by clip_id" if found else "is no clip of the data"
        raise DataError(f"{text!r} {several}")
    return found[0]


def _folds_of(tables: Tables, fold: int | None) -> dict[str, list[int]] | int:
    """The folds that test each clip; or the one fold there is to be."""
    if fold is not None and tables.folds:
        tables.subset_of(fold)  # an error where there is no such fold
    if fold is not None or not tables.folds:
        return fold or 1  # a set without folds is there to be tested
    tested: dict[str, list[int]] = {}
    for row in tables.folds:
        if row.subset == "test":
            tested.setdefault(row.clip_id, []).append(row.fold)
    return tested


def _which_fold(clip_id: str, of_row: int | None, folds_of: dict[str, list[int]] | int) -> int:
    if of_row is not None:
        return of_row
    if isinstance(folds_of, int):
        return folds_of
    found = folds_of.get(clip_id, [])
    if len(found) != 1:
        where = f"folds {', '.join(map(str, found))}" if found else "no fold"
        raise DataError(f"clip {clip_id!r} is tested by {where}; say which with --fold or a column fold")
    return found[0]


def _fold(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise DataError(f"fold {text!r} is no whole number")
    return int(text)


def _number(what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{what} is {text!r}, no finite number")
    return value


def _doubles(entries: Sequence[_Entry]) -> list[str]:
    first: dict[tuple[int, str, float], int] = {}
    problems = []
    for entry in entries:
        line = first.setdefault((entry.fold, entry.clip_id, entry.start), entry.line)
        if line != entry.line:
            problems.append(f"lines {line} and {entry.line}: clip {entry.clip_id!r} twice in fold {entry.fold}")
    return problems


def _checked(table: Path, entries: Sequence[_Entry], own: Settings) -> np.ndarray:
    """The values (row, class), which are probabilities unless they are of tags."""
    array = np.array([entry.values for entry in entries])
    if own.kind == "tag":
        return array
    sums = array.sum(1)
    problems = []
    for entry, least, total in zip(entries, array.min(1).tolist(), sums.tolist()):
        if least < 0:
            problems.append(f"line {entry.line}: {least:g} is no probability; are these logits or log posteriors?")
        elif total <= 0 or (abs(total - 1) > SUM_TOLERANCE and not own.normalise):
            remedy = "; --normalise divides by it" if total > 0 else ""
            problems.append(f"line {entry.line}: the probabilities sum to {total:.4g}, not to 1{remedy}")
    _refuse(table, problems)
    return array / sums[:, None] if own.normalise else array


def _subsets(table: Path, entries: Sequence[_Entry], tables: Tables, allow_missing: bool) -> list[str]:
    """The subset of each row; every clip of a fold's subset has to be there if any is."""
    of_fold: dict[int, dict[str, str]] = {}
    for number in sorted({entry.fold for entry in entries}):
        of_fold[number] = tables.subset_of(number) if tables.folds else dict.fromkeys(tables.by_id, "test")
    problems = [
        f"line {entry.line}: clip {entry.clip_id!r} is not in fold {entry.fold}"
        for entry in entries
        if entry.clip_id not in of_fold[entry.fold]
    ]
    _refuse(table, problems)
    there = {(entry.fold, entry.clip_id) for entry in entries}
    cells = {(fold, of_fold[fold][clip_id]) for fold, clip_id in there}
    for fold, subset in sorted(cells):
        members = [clip_id for clip_id, name in of_fold[fold].items() if name == subset]
        missing = [clip_id for clip_id in members if (fold, clip_id) not in there]
        if missing:
            some = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
            problems.append(f"fold {fold}: {len(missing)} of {len(members)} {subset} clips have no row: {some}")
    if problems and not allow_missing:
        _refuse(table, [*problems, "--allow-missing lets it pass"])
    for problem in problems:
        log.warning("%s: %s", table, problem)
    return [of_fold[entry.fold][entry.clip_id] for entry in entries]


def _columns(
    entries: Sequence[_Entry], array: np.ndarray, subsets: Sequence[str], tables: Tables, name: str
) -> Columns:
    """In the order of folds and clips, whatever order the table has."""
    place = {clip.clip_id: index for index, clip in enumerate(tables.clips)}
    order = sorted(range(len(entries)), key=lambda i: (entries[i].fold, place[entries[i].clip_id], entries[i].start))
    return {
        "clip_id": np.array([entries[i].clip_id for i in order]),
        "start": np.array([entries[i].start for i in order]),
        "array": array[order].astype(np.float32),
        "fold": np.array([entries[i].fold for i in order], np.int32),
        "subset": np.array([subsets[i] for i in order]),
        "system": np.full(len(order), name),
    }


def _refuse(table: Path, problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise DataError(f"{table}: {problems[0]}")
    if problems:
        more = [f"... and {len(problems) - LISTED} more"] if len(problems) > LISTED else []
        raise DataError("\n  ".join([f"{table}: {len(problems)} problems:", *problems[:LISTED], *more]))
