"""ESC-50 and ESC-10: both layouts, whole and broken, and the real ESC-10."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from asctool import registry
from asctool.corpora import _folds, esc10, esc50
from asctool.corpora._esc import CLASSES, ESC10_TARGETS, OLD_ESC10_NAMES
from asctool.errors import DataError

HEADER = "filename,fold,target,category,esc10,src_file,take"
ALL = range(50)


def names(targets: "range | tuple[int, ...]", extension: str = "wav") -> list[str]:
    """40 names a class, 8 a fold; two takes of each source, which has a fold and a class of its own."""
    return [
        f"{fold}-{10000 + 1000 * fold + 10 * target + n // 2}-{'AB'[n % 2]}-{target}.{extension}"
        for fold in range(1, 6)
        for target in targets
        for n in range(8)
    ]


def row(name: str) -> str:
    fold, source, take, target = name.rpartition(".")[0].split("-")
    return f"{name},{fold},{target},{CLASSES[int(target)]},{int(target) in ESC10_TARGETS},{source},{take}"


def newer(root: Path, listed: list[str], present: list[str] | None = None) -> Path:
    (root / "audio").mkdir(parents=True)
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join([HEADER, *map(row, listed)]) + "\n")
    for name in listed if present is None else present:
        (root / "audio" / name).touch()
    return root


def older(root: Path, targets: "range | tuple[int, ...]", folder_of: "dict[int, str]") -> Path:
    for name in names(targets, "ogg"):
        clip, _, target = name.rpartition(".")[0].rpartition("-")
        folder = root / folder_of[int(target)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{clip}.ogg").touch()
    return root


OLD_ESC50 = {target: f"{target // 10 + 1}{target % 10 + 1:02d} - {CLASSES[target].title()}" for target in ALL}
OLD_ESC10 = {target: f"{n:03d} - {name.capitalize()}" for n, (name, target) in enumerate(OLD_ESC10_NAMES.items(), 1)}


def test_folder_numbers_of_the_older_release() -> None:
    assert (OLD_ESC50[0], OLD_ESC50[49]) == ("101 - Dog", "510 - Hand_Saw")


def test_real_esc10(esc10: Path) -> None:
    corpus = registry.load("corpora", "esc10").read(esc10, registry.load("corpora", "esc10").Config())
    assert len(corpus.clips) == 400
    assert corpus.classes[:3] == ("dog", "rooster", "rain")
    assert set(Counter(clip.labels for clip in corpus.clips).values()) == {40}
    labels = {clip.clip_id: clip.labels[0] for clip in corpus.clips}
    tests = Counter((r.fold, labels[r.clip_id]) for r in corpus.folds if r.subset == "test")
    assert set(tests.values()) == {8}
    assert len(tests) == 50
    assert all(Path(clip.path).is_file() for clip in corpus.clips)
    assert (corpus.warnings, _folds.check_folds(corpus.folds, corpus)) == ((), ())


def test_both_layouts_of_esc50_are_one_corpus(tmp_path: Path) -> None:
    new = esc50.read(newer(tmp_path / "top" / "ESC-50-master", names(ALL)).parent, esc50.Config())
    old = esc50.read(older(tmp_path / "old", ALL, OLD_ESC50), esc50.Config())
    assert new.classes == old.classes == CLASSES
    assert new.folds == old.folds
    assert len(new.clips) == 2000
    assert [(c.clip_id, c.labels, c.group, c.extra) for c in new.clips] == [
        (c.clip_id, c.labels, c.group, c.extra) for c in old.clips
    ]


@pytest.mark.parametrize("tree", ["esc50", "part of esc50", "older esc50", "older esc10"])
def test_esc10_from_any_tree(tree: str, tmp_path: Path) -> None:
    if tree == "older esc50":
        older(tmp_path, ALL, OLD_ESC50)
    elif tree == "older esc10":
        older(tmp_path, ESC10_TARGETS, OLD_ESC10)
    else:  # of a part, the table still lists all
        newer(tmp_path / "esc", names(ALL), names(ALL) if tree == "esc50" else names(ESC10_TARGETS))
    corpus = esc10.read(tmp_path, esc10.Config())
    assert corpus.classes == tuple(CLASSES[target] for target in ESC10_TARGETS)
    assert set(Counter(clip.labels for clip in corpus.clips).values()) == {40}
    assert corpus.clips[0].clip_id == "1-11000-A-0"
    assert corpus.clips[0].extra == {"target": "0", "src_file": "11000", "take": "A", "esc10": "True"}
    assert corpus.warnings == ()


def test_ogg_beside_a_table_of_wav(tmp_path: Path) -> None:
    newer(tmp_path, names(ESC10_TARGETS), names(ESC10_TARGETS, "ogg"))
    assert all(clip.path.endswith(".ogg") for clip in esc10.read(tmp_path, esc10.Config()).clips)


def test_a_shared_source_in_official_folds_is_warned_of(tmp_path: Path) -> None:
    listed = [name.replace("2-12000-", "2-11000-") for name in names(ESC10_TARGETS)]
    corpus = esc10.read(newer(tmp_path, listed), esc10.Config())
    warnings = _folds.check_folds(corpus.folds, corpus)
    assert all("same group '11000' in train and test" in warning for warning in warnings)
    assert {warning.partition(":")[0][-6:] for warning in warnings} == {"fold 1", "fold 2"}


def test_esc50_of_a_tree_of_esc10_names_the_other_corpus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)400 clips of 2000.*use the corpus esc10"):
        esc50.read(newer(tmp_path, names(ESC10_TARGETS)), esc50.Config())


def test_missing_clips_are_refused_or_let_pass(tmp_path: Path) -> None:
    newer(tmp_path, names(ESC10_TARGETS)[1:])
    with pytest.raises(DataError, match=r"(?s)399 clips of 400.*dog: 7, 8, 8, 8, 8 clips"):
        esc10.read(tmp_path, esc10.Config())
    corpus = esc10.read(tmp_path, esc10.Config(allow_partial=True))
    assert len(corpus.clips) == 399
    assert "399 clips of 400" in corpus.warnings[0]


def test_missing_files_are_all_listed(tmp_path: Path) -> None:
    listed = names(ESC10_TARGETS)
    newer(tmp_path, listed, listed[2:])
    with pytest.raises(DataError, match=f"(?s){listed[0]} is missing.*{listed[1]} is missing"):
        esc10.read(tmp_path, esc10.Config())


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("1,0,dog", "2,0,dog", "line 2: 1-11000-A-0.wav: fold is '2', but its name stands for '1'"),
        ("dog", "cat", "category is 'cat'"),
        ("True,11000", "False,11000", "esc10 is 'False'"),
        ("11000,A", "11001,A", "src_file is '11001'"),
        ("1-11000-A-0.wav,", "../1-11000-A-0.wav,", "no name of the form"),
        ("1-11000-A-0.wav,", "1-11000-B-0.wav,", "take is 'A'"),
    ],
)
def test_a_table_that_contradicts_its_file_names(old: str, new: str, match: str, tmp_path: Path) -> None:
    path = newer(tmp_path, names(ESC10_TARGETS)) / "meta" / "esc50.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=match):
        esc10.read(tmp_path, esc10.Config())


def test_a_clip_listed_twice(tmp_path: Path) -> None:
    path = newer(tmp_path, names(ESC10_TARGETS)) / "meta" / "esc50.csv"
    path.write_text(path.read_text() + row("1-11000-A-0.wav") + "\n")
    with pytest.raises(DataError, match="lines 2 and 402: clip 1-11000-A-0 twice"):
        esc10.read(tmp_path, esc10.Config())


def test_files_that_are_not_listed_are_warned_of(tmp_path: Path) -> None:
    root = newer(tmp_path, names(ESC10_TARGETS))
    (root / "audio" / "extra.wav").touch()
    (root / "audio" / ".hidden").touch()
    (warning,) = esc10.read(root, esc10.Config()).warnings
    assert warning.endswith("does not name: extra.wav")


def test_an_unknown_class_folder_and_a_foreign_tree(tmp_path: Path) -> None:
    root = older(tmp_path / "old", ESC10_TARGETS, OLD_ESC10)
    shutil.move(root / "001 - Dog bark", root / "001 - Dog meow")
    with pytest.raises(DataError, match="'001 - Dog meow' is no class"):
        esc10.read(root, esc10.Config())
    with pytest.raises(DataError, match=r"neither meta/esc50\.csv"):
        esc10.read(newer(tmp_path / "x", []) / "audio", esc10.Config())
