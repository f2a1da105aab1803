"""One row of a table of recordings: its columns, its values, and what is wrong with them."""

import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from asctool.corpora._names import name_problem
from asctool.errors import DataError
from asctool.registry import unknown
from asctool.storage.dataset import CLIP_COLUMNS, split_labels
from asctool.storage.tables import Row

COLUMNS = {
    "path": ("path", "filename", "fname"),
    "labels": ("label", "labels", "scene_label", "category"),
    "clip_id": ("clip_id", "id"),
    "group": ("group", "source_label", "src_file"),
    "fold": ("fold",),
    "subset": ("split", "subset"),
    "start": ("start",),
    "end": ("end",),
}
SUBSET_WORDS = {
    **dict.fromkeys(("train", "training", "dev", "development"), "train"),
    **dict.fromkeys(("valid", "validation", "val"), "valid"),
    **dict.fromkeys(("test", "testing", "eval", "evaluate", "evaluation"), "test"),
}


@dataclass(frozen=True)
class Reading:
    """How the rows of one table are read."""

    root: Path
    columns: Mapping[str, str]  # of COLUMNS, those that are there: what to the name in the header
    label_separator: str
    allow_absolute: bool


@dataclass(frozen=True)
class Entry:
    """A row that was read; ``problems`` says what is wrong with it."""

    line: int
    path: Path | None  # None: it may not be looked at
    written_path: str
    labels: tuple[str, ...]
    clip_id: str  # empty: the path's
    group: str  # empty: the path
    fold: int | None
    subset: str
    start: float  # seconds
    end: float | None  # seconds; None: the end of the file
    piece: str  # start and end as part of an id; empty for whole files
    extra: Mapping[str, str]
    stripped: bool  # whether white space was taken off its labels or its group
    problems: tuple[str, ...]

    def alike(self, other: "Entry") -> bool:
        """Whether both rows say the same of the clip, folds apart."""
        mine = (self.path, self.labels, self.group, self.start, self.end, self.extra)
        return mine == (other.path, other.labels, other.group, other.start, other.end, other.extra)


def columns_of(source: Path, header: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Which column says what, and warnings about those that are not used; DataError where no column names files."""
    columns = {what: next(n for n in names if n in header) for what, names in COLUMNS.items() if {*names} & {*header}}
    if "path" not in columns:
        raise DataError(
            f"{source}: no column for the files ({', '.join(COLUMNS['path'])}); its columns are {', '.join(header)}"
        )
    warnings = [
        f"column {columns[what]!r} is taken for the {what}; {name!r} is not"
        for what, names in COLUMNS.items()
        for name in names
        if name in header and name != columns[what]
    ]
    left_out = [name for name in header if name in CLIP_COLUMNS and name not in columns.values()]
    if left_out:
        warnings.append(f"left out, for prep writes columns of these names itself: {', '.join(left_out)}")
    return columns, warnings


def parse_row(row: Row, reading: Reading) -> Entry:
    """Read a row; whatever is wrong is in ``problems`` of the result."""
    problems: list[str] = []
    value = {what: row.fields[name] for what, name in reading.columns.items()}
    written = value["path"]
    start, end = _seconds(value, problems)
    labels = _labels(value.get("labels"), reading.label_separator, problems)
    group = value.get("group", "")
    used = {*reading.columns.values(), *CLIP_COLUMNS}
    for what in ("clip_id", "group"):
        if value.get(what, "-").strip() == "":
            problems.append(f"{reading.columns[what]} is empty")
        elif problem := name_problem(value.get(what, "")):
            problems.append(f"{reading.columns[what]} {value[what]!r} {problem}")
    return Entry(
        line=row.line,
        path=_path(written, reading, problems),
        written_path=posixpath.normpath(written),
        labels=tuple(label.strip() for label in labels),
        clip_id=value.get("clip_id", ""),
        group=group.strip(),
        fold=_fold(value.get("fold"), problems),
        subset=_subset(value.get("subset"), problems),
        start=start,
        end=end,
        piece=f"@{_plain(start)}-{'' if end is None else _plain(end)}" if start or end is not None else "",
        extra={name: text for name, text in row.fields.items() if name not in used},
        stripped=group != group.strip() or any(label != label.strip() for label in labels),
        problems=tuple(problems),
    )


def _path(written: str, reading: Reading, problems: list[str]) -> Path | None:
    """The file, inside the root; None, with the reason among the problems, where it may not be opened."""
    reason = _path_problem(written, reading)
    if reason:
        problems.append(f"{written!r} {reason}")
        return None
    return (reading.root / written).resolve()


def _path_problem(written: str, reading: Reading) -> str:
    if not written.strip():
        return "is no path"
    if problem := name_problem(written):
        return problem
    if written.strip().startswith("|") or written.strip().endswith("|"):
        return "is a command; commands are never run: write its output to a file first"
    if "\\" in written:
        return "has backslashes; write / between folders"
    if "://" in written:
        return "is an address; download it first"
    absolute = PurePosixPath(written).is_absolute() or PureWindowsPath(written).drive != ""
    if not reading.allow_absolute:
        if absolute:
            return "is an absolute path; write it from the root, or let it pass with --set allow_absolute=true"
        if not (reading.root / written).resolve().is_relative_to(reading.root):
            return f"leads out of {reading.root}; let it pass with --set allow_absolute=true"
    return ""


def _labels(text: str | None, separator: str, problems: list[str]) -> tuple[str, ...]:
    if text is None:
        return ()
    labels = split_labels(text) if separator == ";" else tuple(text.split(separator))
    names = [label.strip() for label in labels]
    if not names or "" in names:
        problems.append("a label is empty; an unlabelled set has no column for labels")
    for name in sorted(set(names)):
        if problem := name_problem(name):
            problems.append(f"label {name!r} {problem}")
        if names.count(name) > 1 and name:
            problems.append(f"label {name!r} stands {names.count(name)} times")
    return labels


def _seconds(value: Mapping[str, str], problems: list[str]) -> tuple[float, float | None]:
    start, end = _number("start", value, problems), _number("end", value, problems)
    start = 0.0 if start is None else start
    if end is not None and end <= start:
        problems.append(f"end {end} is not after start {start}")
    return start, end


def _number(what: str, value: Mapping[str, str], problems: list[str]) -> float | None:
    text = value.get(what, "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        problems.append(f"{what} {text!r} is no number of seconds")
        return None
    return seconds


def _plain(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _fold(text: str | None, problems: list[str]) -> int | None:
    if text is None:
        return None
    if not (text.strip().isascii() and text.strip().isdigit() and int(text) >= 1):
        problems.append(f"fold {text!r} is no whole number from 1 up")
        return None
    return int(text)


def _subset(text: str | None, problems: list[str]) -> str:
    if text is None:
        return ""
    word = SUBSET_WORDS.get(text.strip().lower(), "")
    if not word:
        problems.append(unknown("subset", text, list(SUBSET_WORDS)))
    return word
