"""FSDKaggle2019 (DCASE 2019, task 2; Fonseca et al. 2019): 29 266 clips with several of 80 labels each.

4970 clips with curated labels, 19 815 with noisy ones and 4481 test clips, mono, 44.1 kHz, 0.3 to 30 s, in folders
``FSDKaggle2019.audio_{train_curated,train_noisy,test}/`` with tables in ``FSDKaggle2019.meta/``. Kaggle's own layout
(``train_curated.csv``, ``train_curated/``, ...) lacks the labels of its test clips.

The column ``curated`` of a clip is True or False. Folds: the test clips test and all others train; with
``n_curated_folds`` each fold validates on another part of the curated clips. In Kaggle's layout those parts test.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asctool.corpora import _folds, _published
from asctool.corpora._corpus import Corpus, refuse
from asctool.errors import UsageError
from asctool.storage.dataset import Clip, FoldRow
from asctool.storage.download import Archive
from asctool.storage.tables import Row, read_table

# fmt: off
CLASSES = (
    "Accelerating_and_revving_and_vroom", "Accordion", "Acoustic_guitar", "Applause", "Bark", "Bass_drum",
    "Bass_guitar", "Bathtub_(filling_or_washing)", "Bicycle_bell", "Burping_and_eructation", "Bus", "Buzz",
    "Car_passing_by", "Cheering", "Chewing_and_mastication", "Child_speech_and_kid_speaking", "Chink_and_clink",
    "Chirp_and_tweet", "Church_bell", "Clapping", "Computer_keyboard", "Crackle", "Cricket", "Crowd",
    "Cupboard_open_or_close", "Cutlery_and_silverware", "Dishes_and_pots_and_pans", "Drawer_open_or_close", "Drip",
    "Electric_guitar", "Fart", "Female_singing", "Female_speech_and_woman_speaking", "Fill_(with_liquid)",
    "Finger_snapping", "Frying_(food)", "Gasp", "Glockenspiel", "Gong", "Gurgling", "Harmonica", "Hi-hat", "Hiss",
    "Keys_jangling", "Knock", "Male_singing", "Male_speech_and_man_speaking", "Marimba_and_xylophone",
    "Mechanical_fan", "Meow", "Microwave_oven", "Motorcycle", "Printer", "Purr", "Race_car_and_auto_racing",
    "Raindrop", "Run", "Scissors", "Screaming", "Shatter", "Sigh", "Sink_(filling_or_washing)", "Skateboard", "Slam",
    "Sneeze", "Squeak", "Stream", "Strum", "Tap", "Tick-tock", "Toilet_flush", "Traffic_noise_and_roadway_noise",
    "Trickle_and_dribble", "Walk_and_footsteps", "Water_tap_and_faucet", "Waves_and_surf", "Whispering", "Writing",
    "Yell", "Zipper_(clothing)",
)  # as vocabulary.csv has them: position = index
# fmt: on
LICENCE = "Creative Commons, another for each clip (column licence)"
N_CLIPS = {"curated": 4970, "noisy": 19815, "test": 4481}
KAGGLE_FOLDS = 5  # where no labelled test clips are there
NAME = re.compile(r"([0-9a-f]{8})\.wav")
WRONG_LABELS = frozenset(("f76181c4", "77b925c2", "6a1f682a", "c7db12aa", "7752cc8a"))
SILENT = frozenset(("1d44b0bd",))


@dataclass(frozen=True)
class Config:
    """Options of the reader."""

    n_curated_folds: int = 0  # parts of the curated clips that validate in turn; 0: nothing validates
    noisy: bool = True  # whether the noisy clips are taken
    keep_faulty: bool = False  # keep five curated clips with wrong labels and a silent one
    allow_partial: bool = False  # leave out clips whose audio is not there instead of refusing
    seed: int = 0  # of the parts

    def __post_init__(self) -> None:
        if self.n_curated_folds < 0 or self.n_curated_folds == 1:
            raise UsageError(f"n_curated_folds={self.n_curated_folds}: 0, or two at least")


@dataclass(frozen=True)
class Layout:
    """Where a release holds a subset: its table (none: unlabelled), folder, and column of the recording."""

    table: str
    folder: str
    recording: str


ZENODO = {
    "curated": Layout(
        "FSDKaggle2019.meta/train_curated_post_competition.csv", "FSDKaggle2019.audio_train_curated", "freesound_id"
    ),
    "noisy": Layout(
        "FSDKaggle2019.meta/train_noisy_post_competition.csv", "FSDKaggle2019.audio_train_noisy", "flickr_video_URL"
    ),
    "test": Layout("FSDKaggle2019.meta/test_post_competition.csv", "FSDKaggle2019.audio_test", "freesound_id"),
}
KAGGLE = {
    "curated": Layout("train_curated.csv", "train_curated", ""),
    "noisy": Layout("train_noisy.csv", "train_noisy", ""),
    "test": Layout("", "test", ""),
}


def read(source: Path, config: Config) -> Corpus:
    """The folder with the trees of Zenodo or of Kaggle, or the one around it."""
    root = _published.find_tree(source, ZENODO["curated"].table, KAGGLE["curated"].table)
    layouts = ZENODO if (root / ZENODO["curated"].table).exists() else KAGGLE
    wanted = {subset: layout for subset, layout in layouts.items() if config.noisy or subset != "noisy"}
    rows = {subset: _rows(root, layout) for subset, layout in wanted.items()}
    refuse(source, [*_vocabulary_problems(root), *_row_problems(wanted, rows)])
    counts = {subset: len(found) for subset, found in rows.items()}
    refuse(source, _published.count_problems(counts, {subset: N_CLIPS[subset] for subset in wanted}))
    files = [_file(wanted[subset], row) for subset, found in rows.items() for row in found]
    missing = _published.absent(root, files)
    refuse(source, [] if config.allow_partial else _published.absent_problems(missing, len(files)))
    gone = set(missing)
    clips = {
        subset: [_clip(root, subset, wanted[subset], row) for row in found if _file(wanted[subset], row) not in gone]
        for subset, found in rows.items()
    }
    warnings = _published.absent_warnings(missing, len(files))
    if not config.keep_faulty:
        clips["curated"], faulty = _without_faulty(clips["curated"])
        warnings += faulty
    folds, note = _make_folds(clips, config)
    everything = tuple(clip for found in clips.values() for clip in found)
    return Corpus("fsdkaggle2019", LICENCE, everything, folds, CLASSES, layouts is ZENODO, note, tuple(warnings))


def archives(config: Config) -> tuple[Archive, ...]:
    """UsageError: no md5 of its files on Zenodo was found, and the noisy clips are a zip file in seven parts."""
    raise UsageError(
        "no md5 sums of FSDKaggle2019 are known, so it is not fetched; download Zenodo record 3612637 by hand, join "
        "the parts of the noisy clips (zip -s 0 FSDKaggle2019.audio_train_noisy.zip --out noisy.zip), unpack all into "
        "SOURCE and leave out --download"
    )


def _rows(root: Path, layout: Layout) -> tuple[Row, ...]:
    if layout.table:
        columns = ("fname", "labels", *([layout.recording, "license"] if layout.recording else []))
        return _published.read_columns(root / layout.table, columns)
    names = sorted(path.name for path in (root / layout.folder).glob("*.wav"))
    return tuple(Row(0, {"fname": name, "labels": ""}) for name in names)


def _vocabulary_problems(root: Path) -> list[str]:
    """vocabulary.csv, where it is there, must list the labels that are known here; it has no header."""
    path = root / "FSDKaggle2019.meta" / "vocabulary.csv"
    if not path.is_file():
        return []
    table = read_table(path, "comma")
    names = [table.header, *(tuple(row.fields.values()) for row in table.rows)]
    expected = [(str(index), name) for index, name in enumerate(CLASSES)]
    return [] if names == expected else [f"{path.name} does not list the {len(CLASSES)} labels of the corpus in order"]


def _row_problems(layouts: Mapping[str, Layout], rows: Mapping[str, Sequence[Row]]) -> list[str]:
    problems = []
    first: dict[str, str] = {}
    for subset, found in rows.items():
        for row in found:
            where = f"{layouts[subset].table or layouts[subset].folder} line {row.line}"
            name, labels = row.fields["fname"], row.fields["labels"].split(",")
            if not NAME.fullmatch(name):
                problems.append(f"{where}: {name!r} is no name of eight hexadecimal digits and .wav")
            if name in first:
                problems.append(f"{where}: {name} twice, first in {first[name]}")
            if layouts[subset].table:
                problems += [
                    f"{where}: {name}: {label!r} is no label of the corpus" for label in labels if label not in CLASSES
                ]
                problems += [f"{where}: {name}: {label!r} twice" for label, n in Counter(labels).items() if n > 1]
            first.setdefault(name, where)
    return problems


def _file(layout: Layout, row: Row) -> str:
    return f"{layout.folder}/{row.fields['fname']}"


def _clip(root: Path, subset: str, layout: Layout, row: Row) -> Clip:
    fields = row.fields
    clip_id = Path(fields["fname"]).stem
    kind = layout.recording.partition("_")[0]
    group = f"{kind} {fields[layout.recording]}" if kind else clip_id
    extra = {"curated": str(subset != "noisy"), "licence": fields.get("license", ""), "usage": fields.get("usage", "")}
    labels = tuple(fields["labels"].split(",")) if fields["labels"] else ()
    return Clip(clip_id, str(root / _file(layout, row)), labels, group, 0.0, extra=extra)


def _without_faulty(clips: Sequence[Clip]) -> tuple[list[Clip], list[str]]:
    """Clips without those known to be wrong, and a warning that names them."""
    faulty = sorted(clip.clip_id for clip in clips if clip.clip_id in WRONG_LABELS | SILENT)
    kept = [clip for clip in clips if clip.clip_id not in faulty]
    return kept, [f"left out, for their labels are wrong or they are silent: {', '.join(faulty)}"] if faulty else []


def _make_folds(clips: Mapping[str, Sequence[Clip]], config: Config) -> tuple[tuple[FoldRow, ...], str]:
    """Folds, and where they come from; test clips without labels are in none."""
    test = [clip for clip in clips["test"] if clip.labels]
    n_parts = config.n_curated_folds or (0 if test else KAGGLE_FOLDS)
    noisy = clips.get("noisy", ())
    if not n_parts:
        train = [FoldRow(1, clip.clip_id, "train") for clip in (*clips["curated"], *noisy)]
        return (*train, *(FoldRow(1, clip.clip_id, "test") for clip in test)), "the official training and test clips"
    held_out = "valid" if test else "test"
    parts = [
        FoldRow(row.fold, row.clip_id, held_out if row.subset == "test" else "train")
        for row in _folds.make_folds(clips["curated"], n_parts, config.seed)
    ]
    rest = [
        FoldRow(fold, clip.clip_id, subset)
        for fold in range(1, n_parts + 1)
        for found, subset in ((noisy, "train"), (test, "test"))
        for clip in found
    ]
    word = "validate; the official test clips test" if test else "test, for there are no labelled test clips"
    note = f"made: {n_parts} grouped, stratified parts of the curated clips, seed {config.seed}, {word}"
    return (*parts, *rest), note
