"""The tables of a corpus: clips, folds, classes; a data directory holds them, and so does every store.

``clips.csv``, ``folds.csv`` and ``classes.txt`` are UTF-8 with LF line ends, as ``docs/formats.md`` has them.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from asctool.errors import DataError, UsageError

SUBSETS = ("train", "valid", "test")
CLIP_COLUMNS = ("clip_id", "path", "labels", "group", "source_clip_id", "method", "start", "duration")
FOLD_COLUMNS = ("fold", "clip_id", "subset")


@dataclass(frozen=True)
class Clip:
    """One recording, or one piece of a recording, to be classified as a whole."""

    clip_id: str
    path: str  # of the audio file; a relative path is relative to the data directory
    labels: tuple[str, ...]  # empty: unlabelled
    group: str  # the recording or place it was cut from: never in train and in test
    duration: float  # seconds
    start: float = 0.0  # seconds into the file
    source_clip_id: str = ""  # the original of a varied copy
    method: str = ""  # what made a varied copy; empty for an original
    extra: Mapping[str, str] = field(default_factory=dict)  # further columns of the corpus

    @property
    def is_copy(self) -> bool:
        """Whether this is an augmented copy: such a clip is only ever a training row."""
        return bool(self.method)


@dataclass(frozen=True)
class FoldRow:
    """Clip ``clip_id`` belongs to ``subset`` (train, valid or test) of fold ``fold`` (counted from 1)."""

    fold: int
    clip_id: str
    subset: str


@dataclass(frozen=True)
class Tables:
    """Clips, folds and classes; the order of ``classes`` is the class index."""

    clips: tuple[Clip, ...]
    folds: tuple[FoldRow, ...]
    classes: tuple[str, ...]

    @cached_property
    def by_id(self) -> dict[str, Clip]:
        """Clip id to clip."""
        return {clip.clip_id: clip for clip in self.clips}

    @cached_property
    def fold_numbers(self) -> list[int]:
        """The folds there are, ascending."""
        return sorted({row.fold for row in self.folds})

    def subset_of(self, fold: int) -> dict[str, str]:
        """Clip id to subset within a fold; a fold that does not exist raises UsageError."""
        if fold not in self.fold_numbers:
            known = ", ".join(map(str, self.fold_numbers)) or "none"
            raise UsageError(f"there is no fold {fold} (folds: {known})")
        return {row.clip_id: row.subset for row in self.folds if row.fold == fold}

    def targets(self, clip_ids: Iterable[str]) -> np.ndarray:
        """Targets of clips, (row, class) float32: labels share one unit of probability; unlabelled rows are zero."""
        index = {name: i for i, name in enumerate(self.classes)}
        ids = list(clip_ids)
        out = np.zeros((len(ids), len(self.classes)), np.float32)
        for row, clip_id in enumerate(ids):
            clip = self.by_id.get(clip_id)
            strangers = [label for label in clip.labels if label not in index] if clip else [clip_id]
            if clip is None or strangers:
                raise DataError(f"clip {clip_id!r}: {strangers[0]!r} is in none of the tables; make them again")
            for label in clip.labels:
                out[row, index[label]] = 1 / len(clip.labels)
        return out

    def with_copies(self, copies: Iterable[Clip]) -> "Tables":
        """These tables and varied copies: a copy trains in exactly the folds in which its source trains."""
        copies = tuple(copies)
        trains = {(row.fold, row.clip_id) for row in self.folds if row.subset == "train"}
        rows = [
            FoldRow(fold, copy.clip_id, "train")
            for fold in self.fold_numbers
            for copy in copies
            if (fold, copy.source_clip_id) in trains
        ]
        return replace(self, clips=self.clips + copies, folds=self.folds + tuple(rows))


def encode_clips(clips: Iterable[Clip]) -> bytes:
    """``clips.csv``; several labels are joined by ``;``, a ``;`` inside a label is ``\\;``."""
    clips = list(clips)
    extra = sorted({name for clip in clips for name in clip.extra})
    rows = [
        [c.clip_id, c.path, join_labels(c.labels), c.group, c.source_clip_id, c.method, repr(c.start), repr(c.duration)]
        + [c.extra.get(name, "") for name in extra]
        for c in clips
    ]
    return _encode_csv([*CLIP_COLUMNS, *extra], rows)


def decode_clips(data: bytes) -> tuple[Clip, ...]:
    """The inverse of :func:`encode_clips`."""
    header, rows = _decode_csv(data, CLIP_COLUMNS, "clips.csv")
    extra = header[len(CLIP_COLUMNS) :]
    return tuple(
        Clip(
            clip_id=row[0],
            path=row[1],
            labels=split_labels(row[2]),
            group=row[3],
            source_clip_id=row[4],
            method=row[5],
            start=float(row[6]),
            duration=float(row[7]),
            extra=dict(zip(extra, row[len(CLIP_COLUMNS) :])),
        )
        for row in rows
    )


def encode_folds(folds: Iterable[FoldRow]) -> bytes:
    """``folds.csv``."""
    return _encode_csv(FOLD_COLUMNS, [[str(row.fold), row.clip_id, row.subset] for row in folds])


def decode_folds(data: bytes) -> tuple[FoldRow, ...]:
    """The inverse of :func:`encode_folds`."""
    _, rows = _decode_csv(data, FOLD_COLUMNS, "folds.csv")
    return tuple(FoldRow(int(fold), clip_id, subset) for fold, clip_id, subset in rows)


def encode_classes(classes: Iterable[str]) -> bytes:
    """``classes.txt``: a class a line, in the order of the class index."""
    return "".join(f"{name}\n" for name in classes).encode()


def decode_classes(data: bytes) -> tuple[str, ...]:
    """The inverse of :func:`encode_classes`."""
    return tuple(data.decode().split("\n")[:-1])


def encode_tables(tables: Tables) -> dict[str, bytes]:
    """The three files by name."""
    return {
        "clips.csv": encode_clips(tables.clips),
        "folds.csv": encode_folds(tables.folds),
        "classes.txt": encode_classes(tables.classes),
    }


def decode_tables(files: Mapping[str, bytes]) -> Tables:
    """The inverse of :func:`encode_tables`."""
    return Tables(
        decode_clips(files["clips.csv"]), decode_folds(files["folds.csv"]), decode_classes(files["classes.txt"])
    )


def join_labels(labels: Iterable[str]) -> str:
    """Labels in one field: joined by ``;``, with ``\\`` before a ``;`` or ``\\`` of a label."""
    return ";".join(label.replace("\\", "\\\\").replace(";", "\\;") for label in labels)


def split_labels(text: str) -> tuple[str, ...]:
    """The inverse of :func:`join_labels`; an empty field holds no label."""
    if not text:
        return ()
    labels, current, escaped = [], "", False
    for char in text:
        if escaped or (char not in "\\;"):
            current, escaped = current + char, False
        elif char == "\\":
            escaped = True
        else:
            labels.append(current)
            current = ""
    return (*labels, current)


def _encode_csv(header: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    # Python 3.11 leaves a bare carriage return unquoted where lines end in \n, and reads it as a line end.
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        fields = list(row)
        (quoting if any("\r" in field for field in fields) else writer).writerow(fields)
    return text.getvalue().encode()


def _decode_csv(data: bytes, columns: tuple[str, ...], name: str) -> tuple[list[str], list[list[str]]]:
    header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
    if tuple(header[: len(columns)]) != columns:
        raise DataError(f"{name}: its columns begin with {','.join(header)}, not with {','.join(columns)}")
    return header, rows


def audio_path(clip: Clip, data_directory: Path) -> Path:
    """Where a clip's audio lies."""
    return data_directory / clip.path
