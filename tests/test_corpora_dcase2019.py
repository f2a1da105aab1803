"""TAU Urban Acoustic Scenes 2019: its real metadata, whole and damaged, beside audio that the tests make."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SHARED

from asctool.cli import run
from asctool.corpora import _folds, dcase2019
from asctool.errors import DataError
from asctool.storage.data_directory import DataDirectory

TOP = "TAU-urban-acoustic-scenes-2019-development"
METADATA = SHARED / "layouts" / "tau2019"
WHOLE = dcase2019.Config()
PARTIAL = dcase2019.Config(allow_partial=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official tables, and a file for each of their 14 400 clips; audio is decoded by prep, not by the reader."""
    if not (METADATA / "meta.csv").is_file():
        pytest.skip("the metadata of TAU 2019 do not lie in ../shared/layouts/tau2019")
    root = tmp_path_factory.mktemp("tau") / TOP
    shutil.copytree(METADATA, root)
    (root / "audio").mkdir()
    for line in (root / "meta.csv").read_text().splitlines()[1:]:
        (root / line.split("\t")[0]).touch()
    return root


@pytest.fixture
def tables(whole: Path, tmp_path: Path) -> Path:
    """The official tables, to be damaged, with the audio linked to."""
    root = tmp_path / TOP
    shutil.copytree(METADATA, root)
    (root / "audio").symlink_to(whole / "audio")
    return root


def test_the_official_corpus(whole: Path) -> None:
    corpus = dcase2019.read(whole.parent, WHOLE)
    assert len(corpus.clips) == 14_400
    assert Counter(clip.labels for clip in corpus.clips) == {(scene,): 1440 for scene in dcase2019.CLASSES}
    assert corpus.classes == dcase2019.CLASSES == tuple(sorted(dcase2019.CLASSES))
    assert Counter(row.subset for row in corpus.folds) == {"train": 9185, "test": 4185}
    assert {row.fold for row in corpus.folds} == {1}
    assert (corpus.official_folds, corpus.warnings) == (True, ())
    assert dcase2019.read(whole, WHOLE) == corpus


def test_no_place_trains_and_tests(whole: Path) -> None:
    """325 and 149 places, and 40 of Milan in neither: the figures of the corpus' own page."""
    corpus = dcase2019.read(whole, WHOLE)
    by_id = {clip.clip_id: clip for clip in corpus.clips}
    places = {s: {by_id[r.clip_id].group for r in corpus.folds if r.subset == s} for s in ("train", "test")}
    used = {row.clip_id for row in corpus.folds}
    unused = [clip for clip in corpus.clips if clip.clip_id not in used]
    assert (len(places["train"]), len(places["test"]), len({clip.group for clip in unused})) == (325, 149, 40)
    assert not places["train"] & places["test"]
    assert not any(place.startswith("milan-") for place in places["train"])
    assert Counter(clip.extra["city"] for clip in unused) == {"milan": 1030}
    assert _folds.check_folds(corpus.folds, corpus) == ()


def test_a_clip(whole: Path) -> None:
    clip = dcase2019.read(whole, WHOLE).clips[0]
    assert (clip.clip_id, clip.labels, clip.group) == ("airport-lisbon-1000-40000-a", ("airport",), "lisbon-1000")
    assert clip.extra == {"city": "lisbon", "device": "a"}
    assert clip.path == str(whole / "audio" / "airport-lisbon-1000-40000-a.wav")


def replaced(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


FIRST = "audio/airport-lisbon-1000-40000-a.wav"
TEST = "audio/street_pedestrian-lyon-1162-44093-a.wav"


@pytest.mark.parametrize(
    ("table", "change", "match"),
    [
        ("meta.csv", replaced("\tairport\tlisbon-1000", "\tbus\tlisbon-1000"), "line 2: .*scene_label is 'bus'"),
        ("meta.csv", replaced("\tlisbon-1000\t", "\tlyon-1000\t"), "line 2: .*identifier is 'lyon-1000'"),
        ("meta.csv", replaced("lisbon-1000\ta", "lisbon-1000\tb"), "line 2: .*source_label is 'b'"),
        ("meta.csv", replaced(FIRST, "../" + FIRST), "line 2: .*is no name of the form"),
        ("meta.csv", replaced(FIRST, "audio/beach-lisbon-1000-40000-a.wav"), "'beach' is no scene"),
        ("meta.csv", lambda text: text + text.splitlines()[1] + "\n", f"lines 2 and 14402: {FIRST} twice"),
        ("meta.csv", replaced("identifier", "place"), "meta.csv: has no column identifier"),
        ("meta.csv", lambda text: text.rpartition("\naudio/")[0] + "\n", "1439, not 1440"),
        ("evaluation_setup/fold1_train.csv", lambda t: t.rpartition("\naudio/")[0] + "\n", "train: 9184, not 9185"),
        ("evaluation_setup/fold1_train.csv", replaced(f"{FIRST}\tairport", f"{FIRST}\tbus"), "is 'bus' there"),
        ("evaluation_setup/fold1_train.csv", replaced(FIRST, FIRST.replace("40000", "9")), "None in meta.csv"),
        ("evaluation_setup/fold1_train.csv", lambda t: t + f"{TEST}\tstreet_pedestrian\n", "trains and tests"),
        ("evaluation_setup/fold1_evaluate.csv", lambda t: t + "".join(t.splitlines(True)[1]), "lines 2 and 4187"),
    ],
)
def test_damaged_tables(tables: Path, table: str, change: Callable[[str], str], match: str) -> None:
    (tables / table).write_text(change((tables / table).read_text()))
    with pytest.raises(DataError, match=match):
        dcase2019.read(tables, PARTIAL)


def test_all_that_does_not_train_is_not_the_test_subset(tables: Path) -> None:
    """5215 clips: a split met elsewhere, which tests on the 1030 clips of Milan as well."""
    rows = [line.split("\t")[:2] for line in (tables / "meta.csv").read_text().splitlines()]
    train = set((tables / "evaluation_setup" / "fold1_train.csv").read_text().split())
    lines = ["\t".join(row) for row in rows if row[0] not in train or row[0] == "filename"]
    assert len(lines) == 5216
    (tables / "evaluation_setup" / "fold1_evaluate.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"(?s)1030 clips of Milan do not test.*test: 5215, not 4185"):
        dcase2019.read(tables, WHOLE)


def test_missing_audio_is_listed_or_left_out(tables: Path) -> None:
    (tables / "audio").unlink()
    (tables / "audio").mkdir()
    (tables / FIRST).touch()
    (tables / "audio" / "stray.wav").touch()
    with pytest.raises(DataError, match=r"(?s)14399 of 14400 audio files are missing.*bus-lyon.*14349 more"):
        dcase2019.read(tables, WHOLE)
    corpus = dcase2019.read(tables, PARTIAL)
    assert [clip.clip_id for clip in corpus.clips] == ["airport-lisbon-1000-40000-a"]
    assert [row.subset for row in corpus.folds] == ["train"]
    assert "14399 of 14400 audio files are missing and left out" in corpus.warnings[0]
    assert corpus.warnings[1].endswith("does not name: stray.wav")


def test_another_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds evaluation_setup/fold1_train\.csv"):
        dcase2019.read(tmp_path, WHOLE)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    root = tmp_path / "TAU-urban-acoustic-scenes-2019-evaluation"
    (root / "audio").mkdir(parents=True)
    (root / "evaluation_setup").mkdir()
    names = [f"audio/{number}.wav" for number in range(7200)]
    (root / "evaluation_setup" / "test.csv").write_text("\n".join(["filename", *names]) + "\n")
    for name in names:
        (root / name).touch()
    return root


def test_the_evaluation_set_has_no_labels(evaluation: Path) -> None:
    corpus = dcase2019.read(evaluation.parent, dcase2019.Config(dataset="evaluation"))
    assert len(corpus.clips) == len({clip.group for clip in corpus.clips}) == 7200
    assert {clip.labels for clip in corpus.clips} == {()}
    assert (corpus.folds, corpus.classes) == ((), ())


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("audio/17.wav\n", "", "clips: 7199, not 7200"),
        ("audio/17.wav", "audio/18.wav", r"lines 19 and 20: audio/18\.wav twice"),
        ("audio/17.wav", "audio/../17.wav", "line 19: .*is no name of the form"),
    ],
)
def test_a_damaged_evaluation_set(evaluation: Path, old: str, new: str, match: str) -> None:
    table = evaluation / "evaluation_setup" / "test.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=match):
        dcase2019.read(evaluation, dcase2019.Config(dataset="evaluation"))


def write_audio(path: Path, seed: int) -> None:
    """A quarter of a second as the corpus has it: 48 kHz, 24 bits, two channels."""
    samples = np.random.default_rng(seed).normal(size=(12_000, 2)) / 9
    soundfile.write(path, samples, 48_000, subtype="PCM_24")


def test_prep_takes_a_part_of_the_corpus(tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two clips of each scene that train and one that tests, as if one archive of the 21 were there."""
    (tables / "audio").unlink()
    (tables / "audio").mkdir()
    wanted: list[str] = []
    for table, count in (("fold1_train.csv", 2), ("fold1_evaluate.csv", 1)):
        names = [line.split("\t") for line in (tables / "evaluation_setup" / table).read_text().splitlines()[1:]]
        for scene in dcase2019.CLASSES:
            wanted += [name for name, label in names if label == scene][:count]
    for seed, name in enumerate(wanted):
        write_audio(tables / name, seed)
    command = ["prep", "dcase2019", str(tmp_path), str(tmp_path / "data"), "--jobs", "1"]
    assert run(command) == 3
    assert "14370 of 14400 audio files are missing" in capsys.readouterr().err
    assert run([*command, "--set", "allow_partial=true"]) == 0
    data = DataDirectory(tmp_path / "data")
    assert len(data.tables.clips) == 30
    assert Counter(data.tables.subset_of(1).values()) == {"train": 20, "test": 10}
    assert {data.channels(clip) for clip in data.tables.clips} == {2}
    assert {clip.duration for clip in data.tables.clips} == {0.25}
    assert data.description["folds"]["official"] is True


def test_prep_takes_the_evaluation_set(evaluation: Path, tmp_path: Path) -> None:
    for path in evaluation.glob("audio/*.wav"):
        path.unlink()
    for number in (3, 7):
        write_audio(evaluation / "audio" / f"{number}.wav", number)
    options = ["--set", "dataset=evaluation", "--set", "allow_partial=true", "--jobs", "1"]
    assert run(["prep", "dcase2019", str(evaluation), str(tmp_path / "data"), *options]) == 0
    data = DataDirectory(tmp_path / "data")
    assert [clip.clip_id for clip in data.tables.clips] == ["3", "7"]
    assert (data.tables.folds, data.tables.classes) == ((), ())
