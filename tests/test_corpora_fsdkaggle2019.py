"""FSDKaggle2019: the layouts of Zenodo and of Kaggle, whole and damaged, and its folds."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SHARED

from asctool.cli import run
from asctool.corpora import _folds, fsdkaggle2019
from asctool.corpora.fsdkaggle2019 import CLASSES, KAGGLE, N_CLIPS, ZENODO, Config
from asctool.errors import DataError, UsageError
from asctool.storage.data_directory import DataDirectory

FIRST = {"curated": 0, "noisy": 0x10000000, "test": 0x20000000}
FAULTY = ("f76181c4", "77b925c2", "6a1f682a", "c7db12aa", "7752cc8a", "1d44b0bd")


def stem(subset: str, number: int) -> str:
    if subset == "curated" and number < len(FAULTY):
        return FAULTY[number]
    return f"{FIRST[subset] + number:08x}"


def line(subset: str, number: int, kaggle: bool) -> str:
    """Every third clip has two labels."""
    labels = CLASSES[number % 80]
    if number % 3 == 0:
        labels = f'"{labels},{CLASSES[(number + 7) % 80]}"'
    start = f"{stem(subset, number)}.wav,{labels}"
    if kaggle:
        return start
    usage = "Public," if number < 1120 else "Private,"
    recording = f"https://www.flickr.com/{number}" if subset == "noisy" else str(30_000_000 + FIRST[subset] + number)
    return f"{start},{usage if subset == 'test' else ''}{recording},CC-BY"


HEADERS = {
    "curated": "fname,labels,freesound_id,license",
    "noisy": "fname,labels,flickr_video_URL,license",
    "test": "fname,labels,usage,freesound_id,license",
}


def tree(root: Path, kaggle: bool) -> Path:
    """All 29 266 clips; audio is decoded by prep, not by the reader."""
    root.mkdir()
    for subset, layout in (KAGGLE if kaggle else ZENODO).items():
        (root / layout.folder).mkdir(parents=True)
        for number in range(N_CLIPS[subset]):
            (root / layout.folder / f"{stem(subset, number)}.wav").touch()
        if layout.table:
            lines = [line(subset, number, kaggle) for number in range(N_CLIPS[subset])]
            (root / layout.table).parent.mkdir(exist_ok=True)
            (root / layout.table).write_text("\n".join(["fname,labels" if kaggle else HEADERS[subset], *lines]) + "\n")
    if not kaggle:
        vocabulary = "".join(f"{index},{name}\n" for index, name in enumerate(CLASSES))
        (root / "FSDKaggle2019.meta" / "vocabulary.csv").write_text(vocabulary)
    return root


@pytest.fixture(scope="module")
def zenodo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("fsd") / "zenodo", kaggle=False)


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("fsd") / "kaggle", kaggle=True)


@pytest.fixture
def tables(zenodo: Path, tmp_path: Path) -> Path:
    """The tables, to be damaged, with the audio linked to."""
    root = tmp_path / "tables"
    (root / "FSDKaggle2019.meta").mkdir(parents=True)
    for path in (zenodo / "FSDKaggle2019.meta").iterdir():
        (root / "FSDKaggle2019.meta" / path.name).write_text(path.read_text())
    for layout in ZENODO.values():
        (root / layout.folder).symlink_to(zenodo / layout.folder)
    return root


def test_the_labels_are_the_official_ones() -> None:
    path = SHARED / "layouts" / "fsdkaggle2019_classes.csv"
    if not path.is_file():
        pytest.skip("the labels of FSDKaggle2019 do not lie in ../shared/layouts")
    assert path.read_text().splitlines() == [f"{index},{name}" for index, name in enumerate(CLASSES)]


def test_the_corpus(zenodo: Path) -> None:
    corpus = fsdkaggle2019.read(zenodo.parent, Config(keep_faulty=True))
    assert len(corpus.clips) == len({clip.clip_id for clip in corpus.clips}) == 29_266
    assert corpus.classes == CLASSES
    assert Counter(clip.extra["curated"] for clip in corpus.clips) == {"True": 4970 + 4481, "False": 19_815}
    assert Counter(row.subset for row in corpus.folds) == {"train": 4970 + 19_815, "test": 4481}
    assert Counter(clip.extra["usage"] for clip in corpus.clips) == {"": 24_785, "Public": 1120, "Private": 3361}
    assert (corpus.official_folds, corpus.warnings) == (True, ())
    assert _folds.check_folds(corpus.folds, corpus) == ()


def test_clips_have_several_labels_and_the_recording_as_group(zenodo: Path) -> None:
    clips = {clip.clip_id: clip for clip in fsdkaggle2019.read(zenodo, Config()).clips}
    clip = clips[stem("curated", 9)]
    assert (clip.labels, clip.group) == ((CLASSES[9], CLASSES[16]), "freesound 30000009")
    assert clip.extra == {"curated": "True", "licence": "CC-BY", "usage": ""}
    assert clips[stem("noisy", 10)].labels == (CLASSES[10],)
    assert clips[stem("noisy", 10)].group == "flickr https://www.flickr.com/10"


def test_clips_known_to_be_faulty_are_left_out(zenodo: Path) -> None:
    corpus = fsdkaggle2019.read(zenodo, Config())
    assert not set(FAULTY) & ({clip.clip_id for clip in corpus.clips} | {row.clip_id for row in corpus.folds})
    assert len(corpus.clips) == 29_260
    (warning,) = corpus.warnings
    assert all(name in warning for name in FAULTY)


def test_without_the_noisy_clips(zenodo: Path) -> None:
    corpus = fsdkaggle2019.read(zenodo, Config(noisy=False))
    assert len(corpus.clips) == 4964 + 4481
    assert {clip.extra["curated"] for clip in corpus.clips} == {"True"}


def test_parts_of_the_curated_clips_validate_in_turn(zenodo: Path) -> None:
    corpus = fsdkaggle2019.read(zenodo, Config(n_curated_folds=5))
    kind = {stem(subset, number): subset for subset, count in N_CLIPS.items() for number in range(count)}
    there = defaultdict(Counter)
    for row in corpus.folds:
        there[row.fold, row.subset][kind[row.clip_id]] += 1
    assert {fold for fold, _ in there} == {1, 2, 3, 4, 5}
    for fold in range(1, 6):
        assert there[fold, "test"] == {"test": 4481}
        assert there[fold, "train"]["noisy"] == 19_815
        assert set(there[fold, "valid"]) == {"curated"}
        assert there[fold, "train"]["curated"] + there[fold, "valid"]["curated"] == 4964
    validated = Counter(row.clip_id for row in corpus.folds if row.subset == "valid")
    assert set(validated.values()) == {1} and len(validated) == 4964
    assert "seed 0" in corpus.fold_note
    assert _folds.check_folds(corpus.folds, corpus) == ()


def test_kaggles_layout_has_no_test_labels(kaggle: Path) -> None:
    """The curated parts test; the test clips are kept, without labels and in no fold."""
    corpus = fsdkaggle2019.read(kaggle, Config())
    unlabelled = {clip.clip_id for clip in corpus.clips if not clip.labels}
    assert len(unlabelled) == 4481
    assert not unlabelled & {row.clip_id for row in corpus.folds}
    assert Counter(row.subset for row in corpus.folds if row.fold == 1).keys() == {"train", "test"}
    assert len([row for row in corpus.folds if row.subset == "test"]) == 4964
    assert corpus.official_folds is False
    assert _folds.check_folds(corpus.folds, corpus) == ()


CURATED, TEST = ZENODO["curated"].table, ZENODO["test"].table


@pytest.mark.parametrize(
    ("table", "old", "new", "match"),
    [
        (CURATED, f",{CLASSES[1]},", ",Thunder,", "line 3: .*'Thunder' is no label"),
        (CURATED, f'"{CLASSES[0]},{CLASSES[7]}"', f'"{CLASSES[0]},{CLASSES[0]}"', f"'{CLASSES[0]}' twice"),
        (CURATED, f'"{CLASSES[0]},{CLASSES[7]}"', "", "line 2: .*'' is no label"),
        (CURATED, FAULTY[0], f"../{FAULTY[0]}", "line 2: .*eight hexadecimal digits"),
        (CURATED, FAULTY[0], FAULTY[1], f"line 3: {FAULTY[1]}.wav twice"),
        (CURATED, line("curated", 8, False) + "\n", "", "curated: 4969, not 4970"),
        (CURATED, "license", "rights", "has no column license"),
        (TEST, stem("test", 0), stem("noisy", 3), f"{stem('noisy', 3)}.wav twice, first in .*noisy"),
        ("FSDKaggle2019.meta/vocabulary.csv", "0,", "1,", "does not list the 80 labels"),
        ("FSDKaggle2019.meta/vocabulary.csv", f"79,{CLASSES[79]}\n", "", "does not list the 80 labels"),
    ],
)
def test_damaged_tables(tables: Path, table: str, old: str, new: str, match: str) -> None:
    text = (tables / table).read_text()
    assert old in text
    (tables / table).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=match):
        fsdkaggle2019.read(tables, Config(allow_partial=True))


def test_missing_audio(tables: Path) -> None:
    (tables / ZENODO["noisy"].folder).unlink()
    with pytest.raises(DataError, match="19815 of 29266 audio files are missing"):
        fsdkaggle2019.read(tables, Config())
    assert len(fsdkaggle2019.read(tables, Config(allow_partial=True)).clips) == 29_260 - 19_815
    assert len(fsdkaggle2019.read(tables, Config(noisy=False)).clips) == 29_260 - 19_815


def test_one_part_is_none() -> None:
    with pytest.raises(UsageError, match="n_curated_folds=1: 0, or two at least"):
        Config(n_curated_folds=1)


def test_another_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train_curated_post_competition\.csv or train_curated\.csv"):
        fsdkaggle2019.read(tmp_path, Config())


def test_prep_takes_a_part_of_the_corpus(tables: Path, tmp_path: Path) -> None:
    """Clips of every label in all three subsets, of unequal lengths; all others are missing."""
    rng = np.random.default_rng(0)
    for subset, layout in ZENODO.items():
        (tables / layout.folder).unlink()
        (tables / layout.folder).mkdir()
        for number in range(6, 86):
            samples = rng.normal(size=4410 + 441 * (number % 5)) / 9
            soundfile.write(tables / layout.folder / f"{stem(subset, number)}.wav", samples, 44_100)
    options = ["--set", "allow_partial=true", "--jobs", "1"]
    assert run(["prep", "fsdkaggle2019", str(tables), str(tmp_path / "data"), *options]) == 0
    data = DataDirectory(tmp_path / "data")
    assert Counter(data.tables.subset_of(1).values()) == {"train": 160, "test": 80}
    clip = data.tables.by_id[stem("noisy", 9)]
    assert (clip.labels, clip.extra["curated"], clip.duration) == ((CLASSES[9], CLASSES[16]), "False", 0.14)
