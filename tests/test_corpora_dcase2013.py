"""Scenes of DCASE 2013: trees in its layout, and its five folds."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asctool.cli import run
from asctool.corpora import dcase2013
from asctool.corpora.dcase2013 import CLASSES, Config
from asctool.errors import DataError
from asctool.storage.data_directory import DataDirectory

NAMES = [f"{scene}{number:02d}.wav" for scene in CLASSES for number in range(1, 11)]


def tree(root: Path, names: list[str] = NAMES) -> Path:
    root.mkdir(parents=True)
    for name in names:
        (root / name).touch()
    return root


@pytest.mark.parametrize("folder", [".", "scenes_stereo"])
def test_the_corpus(folder: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "dcase" / folder)
    (root / "readme.txt").touch()
    corpus = dcase2013.read(tmp_path / "dcase", Config())
    assert Counter(clip.labels for clip in corpus.clips) == {(scene,): 10 for scene in CLASSES}
    assert corpus.classes == CLASSES == tuple(sorted(CLASSES))
    assert len({clip.group for clip in corpus.clips}) == 100
    assert (corpus.folds, corpus.official_folds, corpus.warnings) == ((), False, ())


def test_scenes_with_a_common_beginning_are_told_apart(tmp_path: Path) -> None:
    clips = {clip.clip_id: clip for clip in dcase2013.read(tree(tmp_path / "d"), Config()).clips}
    assert [clips[name].labels for name in ("bus03", "busystreet03", "tube10", "tubestation10")] == [
        ("bus",),
        ("busystreet",),
        ("tube",),
        ("tubestation",),
    ]


def test_development_and_evaluation_clips_lie_side_by_side(tmp_path: Path) -> None:
    tree(tmp_path / "scenes_stereo")
    tree(tmp_path / "scenes_stereo_testset")
    development, evaluation = (dcase2013.read(tmp_path, Config(name)) for name in ("development", "evaluation"))
    assert Path(development.clips[0].path).parent == tmp_path / "scenes_stereo"
    assert Path(evaluation.clips[0].path).parent == tmp_path / "scenes_stereo_testset"
    assert not {c.group for c in development.clips} & {c.group for c in evaluation.clips}


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (NAMES[1:], "(?s)10 clips a scene were published.*bus: 9, not 10"),
        ([*NAMES, "bus11.wav"], "bus: 11, not 10"),
        ([*NAMES, "beach01.wav"], r"'beach01\.wav' is no name of the form"),
        ([*NAMES, "bus1.wav"], r"'bus1\.wav' is no name of the form"),
        ([], "no clips such as bus01"),
    ],
)
def test_other_trees(names: list[str], match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        dcase2013.read(tree(tmp_path / "d", names), Config())


def test_a_part_is_let_pass(tmp_path: Path) -> None:
    corpus = dcase2013.read(tree(tmp_path / "d", NAMES[1:]), Config(allow_partial=True))
    assert len(corpus.clips) == 99
    assert corpus.warnings == ("not 10 clips in every scene: bus: 9, not 10",)


def test_prep_makes_five_stratified_folds(tmp_path: Path) -> None:
    """Two clips of every scene test in each fold, and the directory says that they are not official."""
    rng = np.random.default_rng(0)
    for path in tree(tmp_path / "scenes_stereo").iterdir():
        soundfile.write(path, rng.normal(size=(400, 2)) / 9, 8000)
    assert run(["prep", "dcase2013", str(tmp_path), str(tmp_path / "data"), "--jobs", "1"]) == 0
    data = DataDirectory(tmp_path / "data")
    scene_of = {clip.clip_id: clip.labels[0] for clip in data.tables.clips}
    tests = Counter((row.fold, scene_of[row.clip_id]) for row in data.tables.folds if row.subset == "test")
    assert tests == {(fold, scene): 2 for fold in range(1, 6) for scene in CLASSES}
    assert data.description["folds"]["official"] is False
    assert data.description["folds"]["note"] == "made: 5 grouped, stratified folds, seed 0"
