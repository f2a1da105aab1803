"""TAU Urban Acoustic Scenes 2019 (DCASE 2019, task 1a): clips of 10 s, 48 kHz stereo, ten scenes in ten cities.

``development``: 14 400 clips and the official split, ``meta.csv``, ``evaluation_setup/fold1_{train,evaluate}.csv``
(tabs) and ``audio/{scene}-{city}-{place}-{segment}-{device}.wav``. The group of a clip is its place. 1030 clips of
Milan are in neither subset. ``evaluation``: 7200 clips without labels, ``evaluation_setup/test.csv``; its scenes were
never published.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asctool.corpora import _published
from asctool.corpora._corpus import Corpus, refuse
from asctool.storage.dataset import Clip, FoldRow
from asctool.storage.download import Archive
from asctool.storage.tables import Row

CLASSES = (
    *("airport", "bus", "metro", "metro_station", "park", "public_square"),
    *("shopping_mall", "street_pedestrian", "street_traffic", "tram"),
)
LICENCE = "free for experimental and non-commercial use (Tampere University)"
COLUMNS = ("filename", "scene_label", "identifier", "source_label")
NAME = re.compile(r"audio/([a-z_]+)-([a-z]+)-(\d+)-(\d+)-([a-z0-9]+)\.wav")
EVALUATION_NAME = re.compile(r"audio/([A-Za-z0-9_-]+)\.wav")
N_PER_CLASS, N_TRAIN, N_TEST, N_UNUSED = 1440, 9185, 4185, 1030
N_EVALUATION = 7200
SUBSETS = {"train": ("fold1_train.csv", N_TRAIN), "test": ("fold1_evaluate.csv", N_TEST)}


@dataclass(frozen=True)
class Config:
    """Options of the reader."""

    dataset: Literal["development", "evaluation"] = "development"
    allow_partial: bool = False  # leave out clips whose audio is not there instead of refusing


def read(source: Path, config: Config) -> Corpus:
    """The tree that its archives unpack to, or the folder around it."""
    if config.dataset == "evaluation":
        return _read_evaluation(source, config.allow_partial)
    return _read_development(source, config.allow_partial)


def archives(config: Config) -> tuple[Archive, ...]:
    """The zip files of Zenodo, every one with its folder on top."""
    record, sums = (EVALUATION, EVALUATION_SUMS) if config.dataset == "evaluation" else (DEVELOPMENT, DEVELOPMENT_SUMS)
    names = ["meta", "doc", *(f"audio.{number}" for number in range(1, len(sums) - 1))]
    return tuple(
        Archive(f"{record}-{config.dataset}.{name}.zip", md5, n_bytes) for name, (n_bytes, md5) in zip(names, sums)
    )


def _read_development(source: Path, allow_partial: bool) -> Corpus:
    root = _published.find_tree(source, "evaluation_setup/fold1_train.csv")
    rows = _published.read_columns(root / "meta.csv", COLUMNS)
    problems = [f"meta.csv line {row.line}: {problem}" for row in rows if (problem := _row_problem(row.fields))]
    problems += _published.repeated("meta.csv", rows, "filename")
    refuse(source, problems)
    scenes = {row.fields["filename"]: row.fields["scene_label"] for row in rows}
    subset_of, problems = _split(root, scenes)
    counts = Counter(scenes.values()) + Counter(subset_of.values())
    refuse(source, [*problems, *_published.count_problems(counts, _official_counts())])
    missing = _published.absent(root, list(scenes))
    refuse(source, [] if allow_partial else _published.absent_problems(missing, len(scenes)))
    warnings = [
        *_published.absent_warnings(missing, len(scenes)),
        *_published.unnamed_warnings(root / "audio", (name.partition("/")[2] for name in scenes), "meta.csv"),
    ]
    gone = set(missing)
    there = [row.fields for row in rows if row.fields["filename"] not in gone]
    clips = tuple(_clip(root, fields) for fields in there)
    folds = tuple(
        FoldRow(1, Path(fields["filename"]).stem, subset_of[fields["filename"]])
        for fields in there
        if fields["filename"] in subset_of
    )
    note = f"the official split: {N_TRAIN} clips train, {N_TEST} test, {N_UNUSED} of Milan are in neither subset"
    return Corpus("dcase2019", LICENCE, clips, folds, CLASSES, True, note, tuple(warnings))


def _row_problem(fields: Mapping[str, str]) -> str:
    """Why a row cannot be right, or an empty string: the name of the file and the columns must say the same."""
    match = NAME.fullmatch(fields["filename"])
    if not match:
        return f"{fields['filename']!r} is no name of the form audio/scene-city-place-segment-device.wav"
    scene, city, place, _, device = match.groups()
    if scene not in CLASSES:
        return f"{fields['filename']}: {scene!r} is no scene of the corpus"
    for column, expected in {"scene_label": scene, "identifier": f"{city}-{place}", "source_label": device}.items():
        if fields[column] != expected:
            return f"{fields['filename']}: {column} is {fields[column]!r}, but its name stands for {expected!r}"
    return ""


def _split(root: Path, scenes: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """File to subset, and what the tables of the split say wrong."""
    subset_of: dict[str, str] = {}
    problems: list[str] = []
    for subset, (table, _) in SUBSETS.items():
        rows = _published.read_columns(root / "evaluation_setup" / table, COLUMNS[:2])
        problems += _published.repeated(table, rows, "filename")
        for row in rows:
            name, scene = row.fields["filename"], row.fields["scene_label"]
            if scenes.get(name) != scene:
                problems.append(f"{table} line {row.line}: {name} is {scene!r} there, {scenes.get(name)!r} in meta.csv")
            elif subset_of.setdefault(name, subset) != subset:
                problems.append(f"{table} line {row.line}: {name} trains and tests")
    if sum(subset == "test" for subset in subset_of.values()) == N_TEST + N_UNUSED:
        problems.append(f"fold1_evaluate.csv has all that does not train; of it {N_UNUSED} clips of Milan do not test")
    return subset_of, problems


def _official_counts() -> dict[str, int]:
    return dict.fromkeys(CLASSES, N_PER_CLASS) | {subset: number for subset, (_, number) in SUBSETS.items()}


def _clip(root: Path, fields: Mapping[str, str]) -> Clip:
    name, place = fields["filename"], fields["identifier"]
    extra = {"city": place.partition("-")[0], "device": fields["source_label"]}
    return Clip(Path(name).stem, str(root / name), (fields["scene_label"],), place, 0.0, extra=extra)


def _read_evaluation(source: Path, allow_partial: bool) -> Corpus:
    """Its places were not published either: every clip is a group of its own."""
    root = _published.find_tree(source, "evaluation_setup/test.csv")
    rows = _published.read_columns(root / "evaluation_setup" / "test.csv", COLUMNS[:1])
    names = [row.fields["filename"] for row in rows]
    refuse(source, [*_evaluation_problems(rows), *_published.repeated("test.csv", rows, "filename")])
    refuse(source, _published.count_problems({"clips": len(names)}, {"clips": N_EVALUATION}))
    missing = _published.absent(root, names)
    refuse(source, [] if allow_partial else _published.absent_problems(missing, len(names)))
    gone = set(missing)
    stems = [Path(name).stem for name in names if name not in gone]
    clips = tuple(Clip(stem, str(root / "audio" / f"{stem}.wav"), (), stem, 0.0) for stem in stems)
    warnings = _published.absent_warnings(missing, len(names))
    return Corpus("dcase2019", LICENCE, clips, (), (), True, "", tuple(warnings))


def _evaluation_problems(rows: Sequence[Row]) -> list[str]:
    return [
        f"test.csv line {row.line}: {row.fields['filename']!r} is no name of the form audio/name.wav"
        for row in rows
        if not EVALUATION_NAME.fullmatch(row.fields["filename"])
    ]


# Sizes and md5 sums as Zenodo publishes them, in the order meta, doc, audio.1, audio.2 and so on. They were compared
# with two loaders that hold them: soundata/datasets/tau2019uas.py and dcase_util/datasets/tut.py.
DEVELOPMENT = "https://zenodo.org/record/2589280/files/TAU-urban-acoustic-scenes-2019"
DEVELOPMENT_SUMS = (
    (156_863, "09782f2097e4735687af73c44919329c"),
    (11_299, "1f6879544e80da70099a191613e7e51f"),
    (1_657_550_587, "aca4ebfd9ed03d5f747d6ba8c24bc728"),
    (1_666_219_450, "c4f170408ce77c8c70c532bf268d7be0"),
    (1_817_901_591, "c7214a07211f10f3250290d05e72c37e"),
    (1_821_710_642, "a6a62110f6699cf4432072acb1dffda6"),
    (1_803_118_466, "091a0b6d3c84b8e60e46940aa7d4a8a0"),
    (1_789_566_029, "114f4ca13e074391b98a1cfd8140de65"),
    (1_747_953_866, "5951dd2968f7a514e2afbe279c4f060d"),
    (1_728_724_513, "b0b63dc95b327e1509857c8d8a663cc3"),
    (1_667_106_209, "3c32a693a6b111ffb957be3c1dd22e9b"),
    (1_632_636_175, "0ffbf60006da520cc761fb74c878b98b"),
    (1_671_793_546, "599055d93b4c11057c29be2df54538d4"),
    (1_672_592_150, "98b8d162ff3665695c4c910e6c372cc8"),
    (1_673_481_614, "a356c08b1a5a21d433eba37ef87587f4"),
    (1_666_137_450, "f8969771e7faf7dd471d1cf78b0cf011"),
    (1_675_127_004, "4758c4b0fb7484faa632266e78850820"),
    (1_648_240_966, "a18acad9ede8ea76574216feb887f0bc"),
    (1_698_414_214, "1af7703484632f340da5c33662dc9632"),
    (1_731_093_704, "b67402bf3e08f4da394a7c18756c0fd2"),
    (1_745_153_640, "035db315f19106eb848b6f9b32bcc47c"),
    (1_774_038_704, "9cb28c74911bf8a3eadcf53f50a5b5d6"),
    (1_333_808_800, "0e44ed85c88ec036a9725b4dd1dfaea0"),
)
EVALUATION = "https://zenodo.org/record/3063822/files/TAU-urban-acoustic-scenes-2019"
EVALUATION_SUMS = (
    (17_611, "0b42d3c337b29d2efe50edd1e9496d7e"),
    (7_714, "2fd4dc78299fc0d05212ca43dd89d922"),
    (1_718_932_778, "3dfc50f8dc46f4a83a2e9cf2083d1c2a"),
    (1_720_407_092, "cc3d2a4b8e98ce0122317e401d0c6b7d"),
    (1_729_024_580, "a4815bdfd889a59f71c586cc834fc5e8"),
    (1_722_331_995, "d85f72ef7ae8a60b297da9e5bf478356"),
    (1_721_621_397, "73c84daf879db5cc4811808794e373de"),
    (1_727_147_531, "39d3cda72353ee9da88b78164350ff9f"),
    (1_717_588_287, "bd6fbf0d9324d1faa72968c162b574d7"),
    (1_718_370_134, "d7b4b62156f458865e2bd063b3da39e8"),
    (1_719_960_073, "7dbc037eca8d1234de8cd677853f72e4"),
    (1_716_083_192, "9a0b1e0d2647f6241d7b7c0649855cc7"),
    (643_469_805, "c2ae0b8d9270d964f8c1d8b5298fea72"),
)
