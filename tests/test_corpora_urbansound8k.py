"""UrbanSound8K: trees in its layout, whole and damaged."""

from collections import Counter
from pathlib import Path

import pytest

from asctool.corpora import _folds, urbansound8k
from asctool.corpora.urbansound8k import CLASSES, Config
from asctool.errors import DataError

HEADER = "slice_file_name,fsID,start,end,salience,fold,classID,class"


def row(number: int) -> str:
    """Four slices of each recording, in one fold and class."""
    recording = number // 4
    fold, target = recording % 10 + 1, recording // 10 % 10
    name = f"{100_000 + recording}-{target}-0-{number % 4}.wav"
    return f"{name},{100_000 + recording},317.55,321.55,{1 + number % 2},{fold},{target},{CLASSES[target]}"


def file_of(line: str) -> str:
    fields = line.split(",")
    return f"audio/fold{fields[5]}/{fields[0]}"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return [row(number) for number in range(8732)]


@pytest.fixture
def tree(lines: list[str], tmp_path: Path) -> Path:
    """As the archive unpacks; audio is decoded by prep, not by the reader."""
    root = tmp_path / "UrbanSound8K"
    (root / "metadata").mkdir(parents=True)
    (root / "metadata" / "UrbanSound8K.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for fold in range(1, 11):
        (root / "audio" / f"fold{fold}").mkdir(parents=True)
    for line in lines:
        (root / file_of(line)).touch()
    return root


def test_the_corpus(tree: Path, lines: list[str]) -> None:
    corpus = urbansound8k.read(tree.parent, Config())
    assert len(corpus.clips) == 8732
    assert corpus.classes == CLASSES
    fold_of = {clip.clip_id: int(clip.extra["official_fold"]) for clip in corpus.clips}
    assert {row.fold for row in corpus.folds} == set(range(1, 11))
    assert len(corpus.folds) == 10 * 8732
    assert all((row.subset == "test") == (fold_of[row.clip_id] == row.fold) for row in corpus.folds)
    assert Counter(fold_of.values()) == Counter(int(line.split(",")[5]) for line in lines)
    assert (_folds.check_folds(corpus.folds, corpus), corpus.warnings) == ((), ())


def test_a_clip_is_the_whole_file_whatever_its_place_in_the_recording(tree: Path) -> None:
    clip = urbansound8k.read(tree, Config()).clips[41]
    assert (clip.clip_id, clip.labels, clip.group) == ("100010-1-0-1", ("car_horn",), "100010")
    assert (clip.start, clip.duration) == (0.0, 0.0)  # prep fills in the duration
    assert clip.extra == {
        "salience": "2",
        "recording_start": "317.55",
        "recording_end": "321.55",
        "official_fold": "1",
    }
    assert clip.path == str(tree / "audio" / "fold1" / "100010-1-0-1.wav")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("100000-0-0-0.wav,100000", "100000-0-0-0.wav,7", "line 2: .*fsID is '7', but its name stands for '100000'"),
        (",1,0,air_conditioner", ",1,0,car_horn", "line 2: .*class is 'car_horn'"),
        (",1,0,air_conditioner", ",1,3,air_conditioner", "line 2: .*classID is '3'"),
        (",1,0,air_conditioner", ",11,0,air_conditioner", "line 2: .*fold '11' is none of 1 to 10"),
        (",1,0,air_conditioner", ",../1,0,air_conditioner", r"fold '\.\./1'"),
        ("100000-0-0-0.wav", "../100000-0-0-0.wav", "no name of the form"),
        ("100000-0-0-0.wav", "100000-0-0-1.wav", r"lines 2 and 3: 100000-0-0-1\.wav twice"),
        (row(0) + "\n", "", "clips: 8731, not 8732"),
        ("fsID", "id", "has no column fsID"),
    ],
)
def test_damaged_tables(tree: Path, old: str, new: str, match: str) -> None:
    table = tree / "metadata" / "UrbanSound8K.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=match):
        urbansound8k.read(tree, Config(allow_partial=True))


def test_missing_audio(tree: Path, lines: list[str]) -> None:
    (tree / file_of(lines[5])).unlink()
    with pytest.raises(DataError, match=f"(?s)1 of 8732 audio files are missing.*{file_of(lines[5])} is missing"):
        urbansound8k.read(tree, Config())
    corpus = urbansound8k.read(tree, Config(allow_partial=True))
    assert len(corpus.clips) == 8731
    assert len(corpus.folds) == 10 * 8731
    assert "1 of 8732" in corpus.warnings[0]


def test_another_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds metadata/UrbanSound8K\.csv"):
        urbansound8k.read(tmp_path, Config())
