"""LITIS Rouen (Rakotomamonjy & Gasso 2015): 3026 clips of 30 s, 19 scenes, 20 splits of 2419 / 607 clips.

``data_rouen/<class><number>.wav``; beside it ``relation_wav_examples.txt`` (``<name> <index>``) and the splits, as two
text files or one for MATLAB. A release without splits gets twenty that are made here and say so wherever they go.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asctool.corpora import _litis_splits
from asctool.corpora._corpus import Corpus, existing_directory, refuse
from asctool.corpora._names import shortened
from asctool.errors import DataError
from asctool.storage.dataset import Clip, FoldRow

CLIPS_A_CLASS = {
    "avion": 23,
    "bus": 192,
    "busystreet": 143,
    "cafe": 120,
    "car": 243,
    "hall": 88,
    "hallgare": 269,
    "kidgame": 145,
    "market": 276,
    "metro-paris": 139,
    "metro-rouen": 249,
    "poolhall": 155,
    "quietstreet": 90,
    "restaurant": 133,
    "ruepietonne": 122,
    "shop": 203,
    "train-ter": 164,
    "train-tgv": 147,
    "tubestation": 125,
}  # 3026 in all; position = class index
N_CLIPS = sum(CLIPS_A_CLASS.values())
AUDIO, RELATION = "data_rouen", "relation_wav_examples.txt"
LICENCE = "none was found"
OFFICIAL = "official"
LISTED = 20  # problems told of one by one


@dataclass(frozen=True)
class Config:
    """Options of the reader."""

    allow_partial: bool = False  # warn of clips that are not there instead of refusing
    seed: int = 0  # of splits that are made because none were published with these files


def read(source: Path, config: Config) -> Corpus:
    """The tree with data_rouen/; its splits where they lie there, otherwise twenty made from the seed."""
    root = _root(existing_directory(source))
    files = _files(source, root / AUDIO)
    names, warnings = _indexed(root, files)
    splits, found_in = _litis_splits.published(root, N_CLIPS)
    if splits and len(names) != N_CLIPS:
        raise DataError(f"{root}: {found_in} count clips as {RELATION} does, which names {len(names)} of {N_CLIPS}")
    wrong = [*_wrong_counts(files), *_missing(files, names)]
    if wrong and not config.allow_partial:
        refuse(source, [*wrong, "fetch the archive again, or let it pass with --set allow_partial=true"])
    mark = OFFICIAL if splits else f"made from seed {config.seed}, not the official ones"
    clips = tuple(_clip(clip_id, path, mark) for clip_id, path in files.items())
    if splits:
        folds = _published_rows(splits, names, files)
        note = f"the {len(splits)} splits published with the corpus ({found_in})"
    else:
        folds = _litis_splits.make(clips, config.seed)
        note = f"{_litis_splits.N_SPLITS} stratified splits {mark}: no file of splits lies there"
        warnings.append(f"{note}; results are not those of the official splits")
    classes = tuple(CLIPS_A_CLASS)
    return Corpus("litis", LICENCE, clips, tuple(folds), classes, bool(splits), note, (*warnings, *wrong))


def label_of(name: str) -> str:
    """The class in a file name: what stands before the first digit, metro_rouen being metro-rouen."""
    return re.split(r"\d", name, maxsplit=1)[0].replace("_", "-").rstrip("-")


def _root(source: Path) -> Path:
    """The folder that holds data_rouen/; archives put one folder on top."""
    for root in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        if (root / AUDIO).is_dir():
            return root
    raise DataError(f"{source}: holds no folder {AUDIO} with the recordings of LITIS Rouen")


def _files(source: Path, folder: Path) -> dict[str, Path]:
    """Clip id to file; an id is the name without .wav, with - for _, in which the releases differ."""
    files: dict[str, Path] = {}
    problems = []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        clip_id = _id_of(path.name)
        if path.suffix.lower() != ".wav" or label_of(clip_id) not in CLIPS_A_CLASS:
            problems.append(f"{AUDIO}/{path.name}: is no recording of a class of LITIS Rouen")
        elif clip_id in files:
            problems.append(f"{AUDIO}/{path.name} and {files[clip_id].name}: the same clip twice")
        else:
            files[clip_id] = path
    refuse(source, problems[:LISTED])
    return files


def _id_of(name: str) -> str:
    return re.sub(r"\.wav$", "", name, flags=re.IGNORECASE).replace("_", "-")


def _clip(clip_id: str, path: Path, splits: str) -> Clip:
    # Which clips were cut from one recording is not told, so each is a group of its own.
    return Clip(clip_id, str(path), (label_of(clip_id),), clip_id, 0.0, extra={"splits": splits})


def _indexed(root: Path, files: Mapping[str, Path]) -> tuple[dict[int, str], list[str]]:
    """Index to name after ``relation_wav_examples.txt`` (empty without it), and warnings; its slips are a DataError."""
    unlisted = f"files in {AUDIO}/ that {RELATION} does not name are in no official split"
    if not (root / RELATION).exists():
        return {}, []
    names: dict[int, str] = {}
    problems = []
    for number, line in _litis_splits.lines_of(root / RELATION):
        name, _, written = line.strip().replace("\t", " ").rpartition(" ")
        index, stem = _litis_splits.whole(written), _id_of(name.strip())
        if index is None or not 1 <= index <= N_CLIPS or not stem:
            problems.append(f"{RELATION} line {number}: {line.strip()!r} is no name and index from 1 to {N_CLIPS}")
        elif index in names:
            problems.append(f"{RELATION} line {number}: index {index} stands for {names[index]} already")
        else:
            names[index] = stem
    problems += [f"{RELATION}: names {name} {n} times" for name, n in Counter(names.values()).items() if n > 1]
    refuse(root, problems[:LISTED])
    strangers = sorted(set(files) - set(names.values()))
    return names, [f"{len(strangers)} {unlisted}: {shortened(strangers)}"] if strangers else []


def _wrong_counts(files: Mapping[str, Path]) -> list[str]:
    """Where the counts of the corpus are not met."""
    counts = Counter(label_of(name) for name in files)
    wrong = [f"{label}: {counts[label]} clips, not {n}" for label, n in CLIPS_A_CLASS.items() if counts[label] != n]
    return [f"{len(files)} clips, not {N_CLIPS}", *wrong] if wrong else []


def _missing(files: Mapping[str, Path], names: Mapping[int, str]) -> list[str]:
    absent = sorted(set(names.values()) - set(files))
    return [f"{len(absent)} clips of {RELATION} are not in {AUDIO}/: {shortened(absent)}"] if absent else []


def _published_rows(
    splits: Sequence[_litis_splits.Split], names: Mapping[int, str], files: Mapping[str, Path]
) -> list[FoldRow]:
    return [
        FoldRow(number, names[index], subset)
        for number, split in enumerate(splits, 1)
        for subset, indices in (("train", split.train), ("test", split.test))
        for index in indices
        if names[index] in files  # with allow_partial some are not
    ]
