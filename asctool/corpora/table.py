"""Recordings named in a table: comma or tab separated, with a header.

| what | column (the first of these that is there) | where there is none |
| --- | --- | --- |
| file, from ``root`` | path, filename, fname | an error |
| labels, joined by ``;`` | label, labels, scene_label, category | the set is unlabelled |
| id | clip_id, id | the path without its extension |
| recording it was cut from | group, source_label, src_file | every file is its own |
| fold, counted from 1 | fold | with subsets there is one fold; without, prep makes folds |
| subset: train, valid, test | split, subset | fold k tests the clips that say k and trains on the others |
| seconds into the file | start, end | the whole file |

With both fold and subset, a row is a row of that fold: a clip has one for each fold it is in. Further columns are kept.
A label is never a path, and nothing in the table is ever run.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asctool.corpora._corpus import Corpus, refuse
from asctool.corpora._folds import leaks
from asctool.corpora._names import ids_of_paths, look_alikes, shortened, warn_of_case
from asctool.corpora._table_rows import Entry, Reading, columns_of, parse_row
from asctool.errors import UsageError
from asctool.storage.dataset import Clip, FoldRow
from asctool.storage.tables import read_table


@dataclass(frozen=True)
class Config:
    """How to read the table and where its files lie."""

    root: Path | None = None  # what the paths are relative to; none: the folder of the table
    delimiter: str | None = None  # comma, tab or semicolon; none: comma or tab, as the header has it
    label_separator: str = ";"  # between several labels of a clip; a backslash before a ; keeps it
    allow_absolute: bool = False  # let paths lead out of root

    def __post_init__(self) -> None:
        if not self.label_separator:
            raise UsageError("label_separator is empty; give what stands between several labels of a clip")


def read(source: Path, config: Config) -> Corpus:
    """The clips of a table, in its order; classes in alphabetical order."""
    table = read_table(source, config.delimiter)
    columns, warnings = columns_of(source, table.header)
    root = (config.root if config.root is not None else source.parent).resolve()
    reading = Reading(root, columns, config.label_separator, config.allow_absolute)
    entries = [parse_row(row, reading) for row in table.rows]
    problems = [f"line {entry.line}: {problem}" for entry in entries for problem in entry.problems]
    refuse(source, [*problems, *_missing(entries, root)])
    entries = _with_ids(entries)
    classes = tuple(sorted({label for entry in entries for label in entry.labels}))
    refuse(source, [*_doubles(entries), *_unlike_repeats(entries), *_alike(entries, classes), *_torn_files(entries)])
    first = {entry.clip_id: entry for entry in reversed(entries)}
    clips = tuple(_clip(entry) for entry in entries if entry is first[entry.clip_id])
    folds = _folds(entries)
    refuse(source, _leaks(folds, clips, entries))
    warnings += [
        *_stripped(entries),
        *warn_of_case("labels", classes),
        *warn_of_case("clips", [entry.clip_id for entry in entries]),
    ]
    return Corpus("table", "", clips, folds, classes, False, "as the table has them" if folds else "", tuple(warnings))


def _missing(entries: Sequence[Entry], root: Path) -> list[str]:
    """Files that are not there, every one; where that is all of them, the root is likely wrong."""
    looked_for = [entry for entry in entries if entry.path is not None]
    absent = [entry for entry in looked_for if entry.path is not None and not entry.path.is_file()]
    problems = []
    if absent and len(absent) == len(looked_for):
        within = [path.name for path in sorted(root.glob("*/")) if (path / absent[0].written_path).is_file()]
        guess = f"; they lie in {root / within[0]}" if within else ""
        problems.append(
            f"no file of the table is in {root}: is that the right folder? Say it with --set root=DIR{guess}"
        )
    for entry in absent:
        reason = "is not a regular file" if entry.path is not None and entry.path.exists() else "does not exist"
        problems.append(f"line {entry.line}: {entry.written_path!r} {reason}")
    return problems


def _with_ids(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with the ids of the table or of their paths; a piece of a file has its start and end in the latter."""
    paths = list(dict.fromkeys(entry.written_path for entry in entries))
    id_of = dict(zip(paths, ids_of_paths(paths)))
    return [
        entry if entry.clip_id else replace(entry, clip_id=id_of[entry.written_path] + entry.piece) for entry in entries
    ]


def _doubles(entries: Sequence[Entry]) -> list[str]:
    """Clips that come twice; where rows name fold and subset, twice in one fold."""
    first: dict[tuple[str, int | None], Entry] = {}
    problems = []
    for entry in entries:
        key = (entry.clip_id, entry.fold if entry.subset else None)
        if key not in first:
            first[key] = entry
            continue
        what = f"clip {entry.clip_id!r}" + (f" in fold {entry.fold}" if key[1] is not None else "")
        same = "the same row" if entry.alike(first[key]) else "different rows"
        problems.append(f"lines {first[key].line} and {entry.line}: {what} twice ({same})")
    return problems


def _unlike_repeats(entries: Sequence[Entry]) -> list[str]:
    """Clips that rows of different folds tell different things of."""
    first: dict[str, Entry] = {}
    return [
        f"lines {first[entry.clip_id].line} and {entry.line}: clip {entry.clip_id!r} with different contents"
        for entry in entries
        if entry.subset
        and not entry.alike(first.setdefault(entry.clip_id, entry))
        and entry.fold != first[entry.clip_id].fold  # within a fold it is a double
    ]


def _alike(entries: Sequence[Entry], classes: Sequence[str]) -> list[str]:
    """Names that differ in their Unicode form alone: they look the same and are not."""
    line = {entry.clip_id: entry.line for entry in entries}
    problems = [
        f"lines {line[a]} and {line[b]}: {a!r} and {b!r} read the same (NFC and NFD Unicode)"
        for a, b in look_alikes(line)
    ]
    return problems + [
        f"the labels {a!r} and {b!r} read the same (NFC and NFD Unicode)" for a, b in look_alikes(classes)
    ]


def _torn_files(entries: Sequence[Entry]) -> list[str]:
    """Files whose pieces are in several groups: a file is one recording."""
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for entry in entries:
        groups[str(entry.path)].setdefault(entry.group or str(entry.path), entry.line)
    return [
        f"lines {', '.join(map(str, lines.values()))}: {Path(path).name} is in several groups ({', '.join(lines)})"
        for path, lines in groups.items()
        if len(lines) > 1
    ]


def _clip(entry: Entry) -> Clip:
    duration = 0.0 if entry.end is None else entry.end - entry.start
    group = entry.group or entry.written_path
    return Clip(entry.clip_id, str(entry.path), entry.labels, group, duration, entry.start, extra=entry.extra)


def _folds(entries: Sequence[Entry]) -> tuple[FoldRow, ...]:
    numbers = sorted({entry.fold for entry in entries if entry.fold is not None})
    if any(entry.subset for entry in entries):
        rows = [FoldRow(entry.fold or 1, entry.clip_id, entry.subset) for entry in entries]
        return tuple(sorted(rows, key=lambda row: row.fold))
    return tuple(
        FoldRow(number, entry.clip_id, "test" if entry.fold == number else "train")
        for number in numbers
        for entry in entries
    )


def _leaks(folds: Sequence[FoldRow], clips: Sequence[Clip], entries: Sequence[Entry]) -> list[str]:
    line = {entry.clip_id: entry.line for entry in reversed(entries)}
    return [f"lines {line[leak.clip_a]} and {line[leak.clip_b]}: {leak}" for leak in leaks(folds, clips, {})]


def _stripped(entries: Sequence[Entry]) -> list[str]:
    lines = [str(entry.line) for entry in entries if entry.stripped]
    return [f"white space around labels or groups was taken off (line {shortened(lines)})"] if lines else []
