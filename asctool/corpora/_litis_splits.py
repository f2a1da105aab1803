"""The splits of LITIS Rouen: as published (two text files, or one for MATLAB), or made where they are not there."""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asctool.errors import DataError
from asctool.storage.atomic import environment_failure
from asctool.storage.dataset import Clip, FoldRow

N_SPLITS = 20
N_TRAIN, N_TEST = 2419, 607  # clips of a split
LEARN, TEST = "fold3026-matrices_Learn.txt", "fold3026-matrices_Test.txt"
MATLAB = "fold3026-matrices_v7.mat"
MATLAB_NAMES = {"indiceMa": N_TRAIN, "indiceMt": N_TEST}
LARGEST_BYTES = 4 * 2**20  # of any of these files: 60 520 numbers as text take some 0.3 MiB, at 25 digits 1.5
WHOLE = re.compile(r"\d{1,20}(\.\d{0,30})?([eE]\+?\d{1,2})?")


@dataclass(frozen=True)
class Split:
    """Indices of the clips of one split, as ``relation_wav_examples.txt`` counts them."""

    train: tuple[int, ...]
    test: tuple[int, ...]


def published(root: Path, n_clips: int) -> tuple[list[Split], str]:
    """The splits that lie there and the file they come from; none where there is no file of splits.

    DataError where they are not 20 of 2419 and 607 different clips, 1 to ``n_clips``, none on both sides.
    """
    if (root / LEARN).exists() or (root / TEST).exists():
        train, test = (_read_text(root / name) for name in (LEARN, TEST))
        source = f"{LEARN} and {TEST}"
    elif (root / MATLAB).exists():
        train, test = _read_matlab(root / MATLAB)
        source = MATLAB
    else:
        return [], ""
    problems = _problems(train, test, n_clips)
    if problems:
        raise DataError("\n  ".join([f"{root}: the splits of {source} are wrong:", *problems[:20]]))
    return [Split(tuple(a), tuple(b)) for a, b in zip(train, test)], source


def make(clips: Sequence[Clip], seed: int) -> list[FoldRow]:
    """Twenty splits in the published proportion, each class in it too, drawn from the seed and the ids of the clips."""
    by_class: dict[str, list[str]] = defaultdict(list)
    for clip in clips:
        by_class[clip.labels[0]].append(clip.clip_id)
    quota = _quota({label: len(ids) for label, ids in by_class.items()})
    tests = [
        {
            clip_id
            for label, ids in by_class.items()
            for clip_id in sorted(ids, key=lambda name: _draw(seed, split, name))[: quota[label]]
        }
        for split in range(1, N_SPLITS + 1)
    ]
    return [
        FoldRow(split, clip.clip_id, "test" if clip.clip_id in test else "train")
        for split, test in enumerate(tests, 1)
        for clip in clips
    ]


def _quota(counts: dict[str, int]) -> dict[str, int]:
    """Test clips of each class: 607 of 3026 of all, shares rounded so that their sum is that of the whole."""
    share = N_TEST / (N_TRAIN + N_TEST)
    quota = {label: math.floor(count * share) for label, count in counts.items()}
    left = round(sum(counts.values()) * share) - sum(quota.values())
    by_remainder = sorted(counts, key=lambda label: (quota[label] - counts[label] * share, label))
    return quota | {label: quota[label] + 1 for label in by_remainder[:left]}


def _draw(seed: int, split: int, name: str) -> str:
    return hashlib.sha256(f"{seed} {split} {name}".encode()).hexdigest()


def lines_of(path: Path) -> list[tuple[int, str]]:
    """(number from 1, text) of the lines of a file that are not blank; DataError where it is no such text."""
    _check_file(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise environment_failure(error, path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start + 1} is not UTF-8; this is no list of clips") from error
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


def whole(text: str) -> int | None:
    """A whole number written as 123, 123.0 or 1.23e+02; None for anything else."""
    return int(float(text)) if WHOLE.fullmatch(text) and float(text).is_integer() else None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise DataError(f"{path}: {'is no regular file' if path.exists() else 'is missing'}")
    if path.stat().st_size > LARGEST_BYTES:
        raise DataError(f"{path}: {path.stat().st_size >> 20} MiB; it has {LARGEST_BYTES >> 20} MiB at most")


def _read_text(path: Path) -> list[list[int]]:
    """A row a split: numbers apart by white space, written as 123 or 1.23e+02."""
    rows = []
    for number, line in lines_of(path):
        words = line.split()
        indices = [whole(word) for word in words]
        if None in indices:
            raise DataError(f"{path}: line {number}: {words[indices.index(None)]!r} is no index of a clip")
        rows.append([index for index in indices if index is not None])
    return rows


def _read_matlab(path: Path) -> list[list[list[int]]]:
    """``indiceMa`` and ``indiceMt``: plain matrices of numbers, looked at before they are unpacked."""
    from scipy.io import loadmat, whosmat

    _check_file(path)
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}
        for name, n_clips in MATLAB_NAMES.items():
            if shapes.get(name) != (N_SPLITS, n_clips):
                raise DataError(f"{path}: {name} has shape {shapes.get(name)}, not {(N_SPLITS, n_clips)}")
        found = loadmat(path, variable_names=list(MATLAB_NAMES))
    except DataError:
        raise
    except Exception as error:  # scipy has no class of its own for what a damaged file makes it raise
        raise DataError(f"{path}: cannot be read as a MATLAB file ({error})") from error
    matrices = [np.asarray(found[name]) for name in MATLAB_NAMES]
    if any(matrix.dtype.kind not in "iuf" or not (matrix == np.floor(matrix)).all() for matrix in matrices):
        raise DataError(f"{path}: holds values that are no indices of clips")
    return [matrix.astype(int).tolist() for matrix in matrices]


def _problems(train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], n_clips: int) -> list[str]:
    if (len(train), len(test)) != (N_SPLITS, N_SPLITS):
        return [f"{len(train)} rows of training and {len(test)} of test clips, {N_SPLITS} of each are expected"]
    problems = []
    for number, (learn, judged) in enumerate(zip(train, test), 1):
        if (len(learn), len(judged)) != (N_TRAIN, N_TEST):
            problems.append(f"split {number}: {len(learn)} and {len(judged)} clips, not {N_TRAIN} and {N_TEST}")
        outside = [index for index in (*learn, *judged) if not 1 <= index <= n_clips]
        if outside:
            problems.append(f"split {number}: index {outside[0]}, where clips go from 1 to {n_clips}")
        if len({*learn}) < len(learn) or len({*judged}) < len(judged):
            problems.append(f"split {number}: names a clip twice")
        if both := {*learn} & {*judged}:
            problems.append(f"split {number}: {len(both)} clips train and test, {min(both)} the first")
    return problems
