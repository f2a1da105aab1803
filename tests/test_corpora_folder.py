"""A folder for each class: what is a clip, what is left out, what is refused."""

import os
from pathlib import Path

import pytest

from asctool.corpora import folder
from asctool.errors import AsctoolError, DataError, UsageError
from asctool.stages import prep


def tree(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def ids(root: Path, **options: str) -> dict[str, tuple[str, str]]:
    """Clip id to label and group."""
    clips = folder.read(root, folder.Config(**options)).clips  # type: ignore[arg-type]
    return {clip.clip_id: (clip.labels[0], clip.group) for clip in clips}


def test_labels_are_folders_and_ids_are_paths(tmp_path: Path) -> None:
    tree(tmp_path, "dog/1.wav", "dog/far/2.FLAC", "cat/1.mp3")
    assert ids(tmp_path) == {
        "cat/1": ("cat", "cat/1"),
        "dog/1": ("dog", "dog/1"),
        "dog/far/2": ("dog", "dog/far/2"),
    }
    corpus = folder.read(tmp_path, folder.Config())
    assert corpus.classes == ("cat", "dog")
    assert (corpus.folds, corpus.warnings) == ((), ())
    assert {Path(clip.path) for clip in corpus.clips} == {p for p in tmp_path.rglob("*.*") if p.is_file()}


def test_ids_stay_unique(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.wav", "a/1.ogg", "a/2.wav", "a/1.wav.wav", "b/1.wav")
    assert set(ids(tmp_path)) == {"a/1.wav", "a/1.ogg", "a/2", "a/1.wav.wav", "b/1"}


def test_groups(tmp_path: Path) -> None:
    tree(tmp_path, "a/yard-1.wav", "a/yard-2.wav", "b/x/yard-3.wav", "b/x/4.wav", "b/x_5.wav")
    assert {k: group for k, (_, group) in ids(tmp_path, group="prefix").items()} == {
        "a/yard-1": "yard",
        "a/yard-2": "yard",
        "b/x/yard-3": "yard",
        "b/x/4": "b/x/4",
        "b/x_5": "b/x_5",
    }
    assert ids(tmp_path, group="prefix", group_separator="_")["b/x_5"] == ("b", "x")
    by_folder = ids(tmp_path, group="folder")
    assert (by_folder["b/x/4"][1], by_folder["b/x/yard-3"][1], by_folder["a/yard-1"][1]) == ("x", "x", "a/yard-1")
    with pytest.raises(UsageError, match="group_separator is empty"):
        folder.Config(group_separator="")


def test_a_group_in_several_classes_is_warned_of(tmp_path: Path) -> None:
    """The same name may be chance: it is kept together, which leaks nothing, and told."""
    tree(tmp_path, "kitchen/rec1-a.wav", "street/rec1-b.wav", "kitchen/x/2.wav", "street/x/2.wav", "street/rec3-a.wav")
    assert folder.read(tmp_path, folder.Config()).warnings == ()
    remedy = "; where that is chance, rename the files or give a table with a column group"
    for group, told in {"prefix": "'rec1' (kitchen, street)", "folder": "'x' (kitchen, street)"}.items():
        (warning,) = folder.read(tmp_path, folder.Config(group=group)).warnings  # type: ignore[arg-type]
        assert warning == f"1 groups are taken for one recording in several classes: {told}{remedy}"


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "a/1.wav",
        "b/1.wav",
        "b/notes.txt",
        "b/2.m4a",
        "readme.md",
        ".git/x.wav",
        "a/.x.wav",
        "a/.old/x.wav",
        "docs/a.pdf",
    )
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    corpus = folder.read(tmp_path, folder.Config())
    assert [clip.clip_id for clip in corpus.clips] == ["a/1", "b/1"]
    assert list(corpus.warnings) == [
        "1 files beside the class folders are left out: readme.md",
        "3 files that are no audio by their extension are left out: .m4a (1), .txt (1), .pdf (1): "
        "b/2.m4a, b/notes.txt, docs/a.pdf",
        "1 linked folders inside class folders are left out: a/loop",
        "1 folders without an audio file are no classes: docs",
    ]


def test_case_alone_is_warned_of(tmp_path: Path) -> None:
    tree(tmp_path, "Bus/1.wav", "bus/1.wav", "bus/A.wav", "bus/a.wav")
    assert folder.read(tmp_path, folder.Config()).warnings == (
        "classes differ in upper and lower case alone: 'Bus' and 'bus'",
        "clips differ in upper and lower case alone: 'Bus/1' and 'bus/1'",
        "clips differ in upper and lower case alone: 'bus/A' and 'bus/a'",
    )


@pytest.mark.parametrize(
    ("paths", "match"),
    [
        (["a/caf\u00e9.wav", "a/cafe\u0301.wav", "b/1.wav"], "NFC and NFD"),
        (["a/1\n2.wav", "b/1.wav"], "control character"),
        (["a /1.wav", "b/1.wav"], "begins or ends with white space"),
        (["a/1.wav"], "one class only"),
        (["1.wav", "2.wav"], "no audio file lies in a folder below"),
    ],
)
def test_refused(paths: list[str], match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        folder.read(tree(tmp_path, *paths), folder.Config())


def test_names_that_are_no_text_and_files_that_are_no_files(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.wav", "b/1.wav")
    (tmp_path / "b" / os.fsdecode(b"caf\xe9.wav")).touch()
    os.mkfifo(tmp_path / "a" / "pipe.wav")
    with pytest.raises(DataError, match=r"(?s)pipe.wav' is not a regular file.*is not UTF-8"):
        folder.read(tmp_path, folder.Config())


def test_names_are_never_run(tmp_path: Path) -> None:
    tree(tmp_path, "a/$(touch gone).wav", 'a/\'; ls "x".wav', "b/| cat.wav")
    assert set(ids(tmp_path)) == {"a/$(touch gone)", 'a/\'; ls "x"', "b/| cat"}


def test_a_share_that_is_none_is_told_before_a_file_is_read() -> None:
    with pytest.raises(UsageError, match=r"--valid 1\.5"):
        prep.configure("folder", {"valid": "1.5"})


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("own", "holds other files; give a new directory"),
        ("far/away", "its parent .* does not exist"),
        ("a-file", "is a file"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_a_file_is_read(output: str, words: str, tmp_path: Path) -> None:
    """Here they are empty, and would be refused as soon as one is decoded."""
    tree(tmp_path, "sounds/a/1.wav", "sounds/b/1.wav", "own/clips.csv", "a-file")
    with pytest.raises(AsctoolError, match=words):
        prep.prep("folder", tmp_path / "sounds", tmp_path / output, *prep.configure("folder", {}), force=True)
