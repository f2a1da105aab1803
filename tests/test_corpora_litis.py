"""LITIS Rouen: a tree in its exact layout, its splits as text, for MATLAB and made; what is wrong with others."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import asctool

from asctool.corpora import _folds, litis
from asctool.corpora._litis_splits import LEARN, MATLAB, TEST
from asctool.corpora.litis import AUDIO, CLIPS_A_CLASS, RELATION
from asctool.errors import DataError

MAKE_TREE = Path(__file__).parents[1] / "recipes" / "litis" / "make_tree.py"
spec = importlib.util.spec_from_file_location("make_tree", MAKE_TREE)
if spec is None or spec.loader is None:
    raise ImportError(MAKE_TREE)
make_tree = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_tree)


def tree(root: Path, splits: str = "text") -> Path:
    """The layout with empty files: the reader leaves the audio to prep."""
    make_tree.write_splits(root, splits)
    (root / AUDIO).mkdir()
    for label, count in CLIPS_A_CLASS.items():
        for n in range(1, count + 1):
            (root / AUDIO / f"{label.replace('-', '_')}{n}.wav").touch()
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree(tmp_path_factory.mktemp("litis") / "LITIS")


def copied(source: Path, target: Path, splits: str = "text") -> Path:
    """The same recordings under another root, with split files of its own to be broken."""
    make_tree.write_splits(target, splits)
    (target / AUDIO).symlink_to(source / AUDIO)
    return target


def test_counts_are_those_of_the_corpus() -> None:
    assert sum(CLIPS_A_CLASS.values()) == 3026 and len(CLIPS_A_CLASS) == 19


def test_published_splits(published: Path) -> None:
    corpus = litis.read(published.parent, litis.Config())  # archives put one folder on top
    assert len(corpus.clips) == 3026 and corpus.classes == tuple(CLIPS_A_CLASS)
    assert Counter(clip.labels[0] for clip in corpus.clips) == CLIPS_A_CLASS
    sizes = Counter((row.fold, row.subset) for row in corpus.folds)
    assert sizes == {(n, s): k for n in range(1, 21) for s, k in (("train", 2419), ("test", 607))}
    assert corpus.official_folds and corpus.warnings == ()
    assert _folds.check_folds(corpus.folds, corpus) == ()


def test_indices_are_those_of_the_relation_file(published: Path) -> None:
    """Read here by hand: no minus one, and 1.23e+02 is 123."""
    lines = (published / RELATION).read_text().split("\n")
    name_of = {int(line.split()[1]): line.split()[0] for line in lines if line}
    third = [float(word) for word in (published / TEST).read_text().splitlines()[2].split()]
    expected = {name_of[int(index)].removesuffix(".wav").replace("_", "-") for index in third}
    corpus = litis.read(published, litis.Config())
    assert {r.clip_id for r in corpus.folds if (r.fold, r.subset) == (3, "test")} == expected
    first = float((published / LEARN).read_text().split()[0])
    assert "e+0" in (published / LEARN).read_text().split()[0] and first == int(first)


def test_text_and_matlab_say_the_same(published: Path, tmp_path: Path) -> None:
    matlab = copied(published, tmp_path / "m", "matlab")
    assert not (matlab / LEARN).exists() and (matlab / MATLAB).exists()
    assert litis.read(matlab, litis.Config()).folds == litis.read(published, litis.Config()).folds


def test_made_splits_are_stratified_seeded_and_say_that_they_are_not_official(published: Path, tmp_path: Path) -> None:
    made = copied(published, tmp_path / "none", "none")
    corpus = litis.read(made, litis.Config())
    assert not corpus.official_folds and "not the official ones" in corpus.fold_note
    assert "results are not those of the official splits" in corpus.warnings[0]
    assert {clip.extra["splits"] for clip in corpus.clips} == {"made from seed 0, not the official ones"}
    label = {clip.clip_id: clip.labels[0] for clip in corpus.clips}
    tests = {n: [r.clip_id for r in corpus.folds if (r.fold, r.subset) == (n, "test")] for n in range(1, 21)}
    assert {len(test) for test in tests.values()} == {607}
    for test in tests.values():
        counts = Counter(label[clip] for clip in test)
        assert all(abs(counts[name] - n * 607 / 3026) < 1 for name, n in CLIPS_A_CLASS.items())
    assert len({frozenset(test) for test in tests.values()}) == 20
    assert litis.read(made, litis.Config()).folds == corpus.folds != litis.read(made, litis.Config(seed=1)).folds


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("avion1", "avion"),
        ("busystreet12", "busystreet"),
        ("metro_rouen_12", "metro-rouen"),
        ("metro-paris-7", "metro-paris"),
        ("train-tgv003", "train-tgv"),
        ("poolhall1-2", "poolhall"),
    ],
)
def test_labels_of_names(name: str, label: str) -> None:
    assert litis.label_of(name) == label


def test_missing_recordings_are_refused_or_let_pass(tmp_path: Path) -> None:
    root = tree(tmp_path / "LITIS")
    for name in ("avion3.wav", "metro_rouen17.wav"):
        (root / AUDIO / name).unlink()
    with pytest.raises(DataError, match=r"(?s)3024 clips, not 3026.*avion: 22 clips, not 23.*metro-rouen: 248"):
        litis.read(root, litis.Config())
    corpus = litis.read(root, litis.Config(allow_partial=True))
    assert len(corpus.clips) == 3024
    assert sum(row.fold == 1 for row in corpus.folds) == 3024
    assert "2 clips of relation_wav_examples.txt are not in data_rouen/: avion3, metro-rouen17" in corpus.warnings


def test_strange_recordings(tmp_path: Path) -> None:
    root = tree(tmp_path / "LITIS")
    (root / AUDIO / "metro-rouen1.wav").touch()
    (root / AUDIO / "submarine1.wav").touch()
    with pytest.raises(DataError, match=r"(?s)metro_rouen1.wav and metro-rouen1.wav.*submarine1.wav: is no recording"):
        litis.read(root, litis.Config())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def repeat_first(path: Path) -> None:
    words = path.read_text().split(" ", 2)
    path.write_text(" ".join([words[0], words[0], words[2]]))


BROKEN = {
    "out of range": (lambda r: edit(r / TEST, (r / TEST).read_text().split()[0], "3027"), "split 1: index 3027"),
    "counted from zero": (lambda r: edit(r / TEST, (r / TEST).read_text().split()[0], "0"), "split 1: index 0, where"),
    "twice": (lambda r: repeat_first(r / TEST), "split 1: names a clip twice"),
    "on both sides": (
        lambda r: edit(r / TEST, (r / TEST).read_text().split()[0], (r / LEARN).read_text().split()[0]),
        "split 1: 1 clips train and test",
    ),
    "no number": (lambda r: edit(r / LEARN, "e+03", "e+03x"), "is no index of a clip"),
    "half": (lambda r: edit(r / LEARN, (r / LEARN).read_text().split()[0], "7.5"), "'7.5' is no index of a clip"),
    "a split less": (
        lambda r: (r / LEARN).write_text("".join((r / LEARN).read_text().splitlines(True)[:-1])),
        "19 rows of training and 20 of test clips",
    ),
    "one file alone": (lambda r: (r / TEST).unlink(), "fold3026-matrices_Test.txt: is missing"),
    "no relation": (lambda r: (r / RELATION).unlink(), "relation_wav_examples.txt does, which names 0 of 3026"),
    "relation ends early": (
        lambda r: (r / RELATION).write_text("".join((r / RELATION).read_text().splitlines(True)[:-6])),
        "names 3020 of 3026",
    ),
    "relation: an index twice": (lambda r: edit(r / RELATION, "\t2\n", "\t1\n"), "index 1 stands for"),
    "relation: no index": (lambda r: edit(r / RELATION, "\t2\n", "\n"), "is no name and index from 1 to 3026"),
    "not text": (lambda r: (r / RELATION).write_bytes(b"\xff\xfe\x00"), "is not UTF-8"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_splits(case: str, published: Path, tmp_path: Path) -> None:
    root = copied(published, tmp_path / "broken")
    damage, match = BROKEN[case]
    damage(root)
    with pytest.raises(DataError, match=match):
        litis.read(root, litis.Config())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no MATLAB file", "cannot be read as a MATLAB file"),
        (None, r"indiceMa has shape \(2, 3\), not \(20, 2419\)"),
    ],
)
def test_broken_matlab_files(content: "bytes | None", match: str, published: Path, tmp_path: Path) -> None:
    from scipy.io import savemat

    root = copied(published, tmp_path / "broken", "none")
    savemat(root / MATLAB, {"indiceMa": np.ones((2, 3)), "indiceMt": np.ones((20, 607))})
    if content is not None:
        (root / MATLAB).write_bytes(content)
    with pytest.raises(DataError, match=match):
        litis.read(root, litis.Config())


def test_a_matlab_file_cut_short(published: Path, tmp_path: Path) -> None:
    root = copied(published, tmp_path / "broken", "matlab")
    data = (root / MATLAB).read_bytes()
    (root / MATLAB).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cannot be read as a MATLAB file|has shape None"):
        litis.read(root, litis.Config())


def test_no_litis_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no folder data_rouen"):
        litis.read(tmp_path, litis.Config())


def test_prep_of_short_clips_marks_made_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the command line, on 3026 clips of 20 ms."""
    make_tree.write_splits(tmp_path / "LITIS", "none")
    make_tree.write_audio(tmp_path / "LITIS", 0.02)
    asctool("prep", "litis", tmp_path / "LITIS", tmp_path / "data", "--jobs", 1)
    assert "results are not those of the official splits" in capsys.readouterr().err
    folds = json.loads((tmp_path / "data" / "dataset.json").read_text())["folds"]
    assert folds["official"] is False and folds["numbers"] == list(range(1, 21))
    assert "not the official ones" in folds["note"]
