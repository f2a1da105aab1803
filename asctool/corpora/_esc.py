"""What ESC-50 and ESC-10 share: names, counts and the two layouts on disk (Piczak 2015).

Newer: ``audio/{fold}-{source}-{take}-{target}.wav`` (or ogg) and ``meta/esc50.csv``. Older: a folder a class,
``101 - Dog/1-100032-A.ogg`` or, in ESC-10, ``001 - Dog bark/1-100032-A.ogg``, and no table.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asctool.corpora._corpus import Corpus, existing_directory, refuse
from asctool.corpora._names import shortened
from asctool.errors import DataError
from asctool.storage.dataset import Clip, FoldRow
from asctool.storage.download import Archive
from asctool.storage.tables import Row, read_table

# fmt: off
CLASSES = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow",
    "rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds", "water_drops", "wind",
    "pouring_water", "toilet_flush", "thunderstorm",
    "crying_baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing", "brushing_teeth",
    "snoring", "drinking_sipping",
    "door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening", "washing_machine",
    "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking",
    "helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane", "fireworks",
    "hand_saw",
)  # position = target
# fmt: on
ESC10_TARGETS = (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)
OLD_ESC10_NAMES = {
    "dog bark": 0,
    "rooster": 1,
    "rain": 10,
    "sea waves": 11,
    "fire crackling": 12,
    "baby cry": 20,
    "person sneeze": 21,
    "clock tick": 38,
    "helicopter": 40,
    "chainsaw": 41,
}  # folders 001 to 010 of ESC-10's own release
N_FOLDS = 5
N_CLIPS_PER_CLASS_AND_FOLD = 8
# As in soundata/datasets/esc50.py. GitHub packs it anew now and then.
ARCHIVE = Archive(
    "https://github.com/karolpiczak/ESC-50/archive/master.zip", "7771e4b9d86d0945acce719c7a59305a", remade=True
)
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
NEW_NAME = re.compile(r"([1-5])-(\d+)-([A-Z])-(\d{1,2})\.(?:wav|ogg)")
OLD_NAME = re.compile(r"([1-5])-(\d+)-([A-Z])\.(?:wav|ogg)")
OLD_FOLDER = re.compile(r"([0-5])(\d\d) - (.+)")


@dataclass(frozen=True)
class Entry:
    """One clip as a name or a row of the table tells of it."""

    path: Path
    fold: int
    source: str  # number of the Freesound recording it was cut from
    take: str
    target: int

    @property
    def clip_id(self) -> str:
        """The same in all releases: the name of the newer ones, without its extension."""
        return f"{self.fold}-{self.source}-{self.take}-{self.target}"


def read(source: Path, name: str, licence: str, targets: Sequence[int], allow_partial: bool) -> Corpus:
    """The clips of some targets, with the official folds: fold k tests, the others train."""
    root = _root(existing_directory(source))
    entries, problems, warnings = _read_new(root, targets) if (root / "meta").is_dir() else _read_old(root, targets)
    refuse(source, problems)
    wrong = _wrong_counts(entries, targets)
    if not allow_partial:
        refuse(source, [wrong[0], *_hint(entries, name), *wrong[1:]] if wrong else [])
    entries = sorted(entries, key=lambda entry: entry.clip_id)
    clips = tuple(_clip(entry) for entry in entries)
    folds = tuple(
        FoldRow(fold, entry.clip_id, "test" if entry.fold == fold else "train")
        for fold in sorted({entry.fold for entry in entries})
        for entry in entries
    )
    classes = tuple(CLASSES[target] for target in sorted(targets))
    note = f"the {N_FOLDS} official folds of ESC-50: fold k tests, the others train"
    return Corpus(name, licence, clips, folds, classes, True, note, (*warnings, *wrong))


def _clip(entry: Entry) -> Clip:
    extra = {
        "target": str(entry.target),
        "src_file": entry.source,
        "take": entry.take,
        "esc10": str(entry.target in ESC10_TARGETS),
    }
    return Clip(entry.clip_id, str(entry.path), (CLASSES[entry.target],), entry.source, 0.0, extra=extra)


def _root(source: Path) -> Path:
    """The folder that holds audio/ and meta/, or the folders of classes; archives put one folder on top."""
    for root in (source, *sorted(path for path in source.iterdir() if path.is_dir())):
        if (root / "meta" / "esc50.csv").is_file() or any(_is_class_folder(path) for path in root.iterdir()):
            return root
    raise DataError(
        f"{source}: neither meta/esc50.csv (newer releases) nor folders such as '101 - Dog' or '001 - Dog bark' (older)"
    )


def _is_class_folder(path: Path) -> bool:
    return OLD_FOLDER.fullmatch(path.name) is not None and path.is_dir()


def _read_new(root: Path, targets: Sequence[int]) -> tuple[list[Entry], list[str], list[str]]:
    table = read_table(root / "meta" / "esc50.csv")
    if missing := [name for name in COLUMNS if name not in table.header]:
        return [], [f"meta/esc50.csv has no column {', '.join(missing)}; its columns are {', '.join(table.header)}"], []
    entries, problems = [], []
    lines: dict[str, int] = {}
    for row in table.rows:
        entry = _entry(root, row)
        if isinstance(entry, str):
            problems.append(f"meta/esc50.csv line {row.line}: {entry}")
        elif entry.clip_id in lines:
            problems.append(f"meta/esc50.csv lines {lines[entry.clip_id]} and {row.line}: clip {entry.clip_id} twice")
        elif entry.target in targets:
            lines[entry.clip_id] = row.line
            entries.append(entry)
    absent = [f"audio/{entry.path.name} is missing" for entry in entries if not entry.path.is_file()]
    named = {row.fields["filename"].rpartition(".")[0] for row in table.rows}
    unnamed = [path.name for path in _files(root / "audio") if path.stem not in named]
    return entries, problems + absent, _ignored("audio/ holds files that meta/esc50.csv does not name", unnamed)


def _entry(root: Path, row: Row) -> Entry | str:
    """The clip of a row, or what is wrong with it: the name of the file and the columns must say the same."""
    fields = row.fields
    match = NEW_NAME.fullmatch(fields["filename"])
    if not match:
        return f"{fields['filename']!r} is no name of the form fold-source-take-target.wav"
    fold, source, take, target = match.groups()
    if int(target) >= len(CLASSES):
        return f"{fields['filename']}: target {target} is above {len(CLASSES) - 1}"
    said = {
        "fold": fold,
        "src_file": source,
        "take": take,
        "target": target,
        "category": CLASSES[int(target)],
        "esc10": str(int(target) in ESC10_TARGETS),
    }
    for column, expected in said.items():
        if fields[column] != expected:
            return f"{fields['filename']}: {column} is {fields[column]!r}, but its name stands for {expected!r}"
    path = root / "audio" / fields["filename"]
    other = path.with_suffix(
        ".ogg" if path.suffix == ".wav" else ".wav"
    )  # a table of the one beside audio of the other
    return Entry(other if other.is_file() and not path.is_file() else path, int(fold), source, take, int(target))


def _read_old(root: Path, targets: Sequence[int]) -> tuple[list[Entry], list[str], list[str]]:
    entries, problems, unnamed = [], [], []
    for folder in filter(_is_class_folder, sorted(root.iterdir())):
        target = _old_target(folder.name)
        if target is None:
            problems.append(f"{folder.name!r} is no class of ESC-50 or ESC-10")
            continue
        for path in _files(folder):
            match = OLD_NAME.fullmatch(path.name)
            if not match:
                unnamed.append(f"{folder.name}/{path.name}")
            elif target in targets:
                entries.append(Entry(path, int(match[1]), match[2], match[3], target))
    repeated = [clip_id for clip_id, count in Counter(e.clip_id for e in entries).items() if count > 1]
    problems += [f"clip {clip_id} lies there twice" for clip_id in repeated]
    return entries, problems, _ignored("files that are no clips of ESC-50 are left out", unnamed)


def _old_target(folder: str) -> int | None:
    """101 to 510 in ESC-50: (first digit - 1) x 10 + last two - 1; ESC-10 numbers its own ten, so its names count."""
    match = OLD_FOLDER.fullmatch(folder)
    if match is None:
        return None
    tens, units = int(match[1]), int(match[2])
    if tens == 0:
        return OLD_ESC10_NAMES.get(match[3].strip().lower())
    return (tens - 1) * 10 + units - 1 if 1 <= units <= 10 else None


def _wrong_counts(entries: Sequence[Entry], targets: Sequence[int]) -> list[str]:
    """Where the official counts (8 clips a class and fold) are not met."""
    counts = Counter((entry.target, entry.fold) for entry in entries)
    wrong = []
    for target in sorted(targets):
        there = [counts[target, fold] for fold in range(1, N_FOLDS + 1)]
        if any(count != N_CLIPS_PER_CLASS_AND_FOLD for count in there):
            wrong.append(f"{CLASSES[target]}: {', '.join(map(str, there))} clips in folds 1 to {N_FOLDS}")
    official = len(targets) * N_FOLDS * N_CLIPS_PER_CLASS_AND_FOLD
    head = f"{len(entries)} clips of {official}: not {N_CLIPS_PER_CLASS_AND_FOLD} in every class and fold"
    return [head, *wrong] if wrong else []


def _hint(entries: Iterable[Entry], name: str) -> list[str]:
    present = {entry.target for entry in entries}
    if name == "esc50" and present and present <= set(ESC10_TARGETS):
        return ["only classes of ESC-10 are there: use the corpus esc10"]
    return ["fetch the archive again, or let it pass with --set allow_partial=true"]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []


def _ignored(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what}: {shortened(names)}"] if names else []
