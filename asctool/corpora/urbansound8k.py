"""UrbanSound8K (Salamon, Jacoby & Bello 2014): 8732 clips of up to 4 s, ten classes, ten official folds.

``metadata/UrbanSound8K.csv`` and ``audio/fold{1..10}/{recording}-{class}-{occurrence}-{slice}.wav``. The folds keep
slices of one recording together: never deal them anew.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asctool.corpora import _published
from asctool.corpora._corpus import Corpus, refuse
from asctool.storage.dataset import Clip, FoldRow
from asctool.storage.download import Archive

CLASSES = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)  # position = classID
LICENCE = "CC BY-NC 3.0"
TABLE = "metadata/UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
NAME = re.compile(r"(\d+)-(\d)-(\d+)-(\d+)\.wav")
N_FOLDS = 10
N_CLIPS = 8732  # https://urbansounddataset.weebly.com/urbansound8k.html


@dataclass(frozen=True)
class Config:
    """Options of the reader."""

    allow_partial: bool = False  # leave out clips whose audio is not there instead of refusing


def read(source: Path, config: Config) -> Corpus:
    """The tree with audio/ and metadata/, or the folder around it."""
    root = _published.find_tree(source, TABLE)
    rows = _published.read_columns(root / TABLE, COLUMNS)
    problems = [f"{TABLE} line {row.line}: {problem}" for row in rows if (problem := _row_problem(row.fields))]
    refuse(source, [*problems, *_published.repeated(TABLE, rows, "slice_file_name")])
    refuse(source, _published.count_problems({"clips": len(rows)}, {"clips": N_CLIPS}))
    files = [_file(row.fields) for row in rows]
    missing = _published.absent(root, files)
    refuse(source, [] if config.allow_partial else _published.absent_problems(missing, len(files)))
    gone = set(missing)
    there = [row.fields for row in rows if _file(row.fields) not in gone]
    folds = tuple(
        FoldRow(fold, Path(fields["slice_file_name"]).stem, "test" if int(fields["fold"]) == fold else "train")
        for fold in sorted({int(fields["fold"]) for fields in there})
        for fields in there
    )
    note = f"the {N_FOLDS} official folds: fold k tests, the others train"
    warnings = tuple(_published.absent_warnings(missing, len(files)))
    clips = tuple(_clip(root, fields) for fields in there)
    return Corpus("urbansound8k", LICENCE, clips, folds, CLASSES, True, note, warnings)


def archives(config: Config) -> tuple[Archive, ...]:
    """The archive of Zenodo record 1203745; size and md5 as in soundata/datasets/urbansound8k.py and other loaders."""
    url = "https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz"
    return (Archive(url, "9aa69802bbf37fb986f71ec1483a196e", 6_023_741_708),)


def _row_problem(fields: Mapping[str, str]) -> str:
    """Why a row cannot be right, or an empty string: the name of the file and the columns must say the same."""
    name = fields["slice_file_name"]
    match = NAME.fullmatch(name)
    if not match:
        return f"{name!r} is no name of the form recording-class-occurrence-slice.wav"
    if fields["fold"] not in map(str, range(1, N_FOLDS + 1)):
        return f"{name}: fold {fields['fold']!r} is none of 1 to {N_FOLDS}"
    for column, expected in {"fsID": match[1], "classID": match[2], "class": CLASSES[int(match[2])]}.items():
        if fields[column] != expected:
            return f"{name}: {column} is {fields[column]!r}, but its name stands for {expected!r}"
    return ""


def _file(fields: Mapping[str, str]) -> str:
    return f"audio/fold{fields['fold']}/{fields['slice_file_name']}"


def _clip(root: Path, fields: Mapping[str, str]) -> Clip:
    """``start`` and ``end`` of the table are seconds of the recording on Freesound, not of the file."""
    name, label = fields["slice_file_name"], fields["class"]
    extra = {
        "salience": fields["salience"],
        "recording_start": fields["start"],
        "recording_end": fields["end"],
        "official_fold": fields["fold"],
    }
    return Clip(Path(name).stem, str(root / _file(fields)), (label,), fields["fsID"], 0.0, extra=extra)
