"""A table of recordings: columns, folds, pieces of files, and paths that stay inside the root."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asctool.cli import run
from asctool.corpora import table
from asctool.corpora._corpus import Corpus
from asctool.errors import DataError


def read(folder: Path, text: str, **options: object) -> Corpus:
    """Read a table beside the files a.wav to d.wav."""
    for name in "abcd":
        (folder / f"{name}.wav").touch()
    (folder / "t.csv").write_text(text)
    return table.read(folder / "t.csv", table.Config(**options))  # type: ignore[arg-type]


def folds(corpus: Corpus) -> set[tuple[int, str, str]]:
    return {(row.fold, row.clip_id, row.subset) for row in corpus.folds}


@pytest.mark.parametrize("path", ["path", "filename", "fname"])
@pytest.mark.parametrize("label", ["label", "labels", "scene_label", "category"])
@pytest.mark.parametrize("group", ["group", "source_label", "src_file"])
def test_columns_by_any_of_their_names(path: str, label: str, group: str, tmp_path: Path) -> None:
    corpus = read(tmp_path, f"{path},{label},{group},note\na.wav,x;y,g,007\nb.wav,z\\;w,h,NA\n")
    first, second = corpus.clips
    assert (first.clip_id, first.labels, first.group, first.extra) == ("a", ("x", "y"), "g", {"note": "007"})
    assert (second.labels, second.extra) == (("z;w",), {"note": "NA"})
    assert first.path == str(tmp_path.resolve() / "a.wav")
    assert (corpus.classes, corpus.warnings, corpus.folds) == (("x", "y", "z;w"), (), ())


def test_no_column_for_the_files(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no column for the files \(path, filename, fname\); its columns are file, label"
    ):
        read(tmp_path, "file,label\na.wav,x\n")


def test_two_columns_for_one_thing(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path,label,category,duration\na.wav,x,y,5\n")
    assert corpus.clips[0].labels == ("x",)
    assert corpus.clips[0].extra == {"category": "y"}
    assert "column 'label' is taken for the labels; 'category' is not" in corpus.warnings
    assert any("left out" in warning and "duration" in warning for warning in corpus.warnings)


def test_without_labels_the_set_is_unlabelled(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path\na.wav\nb.wav\n")
    assert [clip.labels for clip in corpus.clips] == [(), ()]
    assert corpus.classes == ()


def test_another_separator_of_labels(tmp_path: Path) -> None:
    corpus = read(tmp_path, 'fname,labels\na.wav,"Applause,Cheering"\n', label_separator=",")
    assert corpus.clips[0].labels == ("Applause", "Cheering")


def test_fold_alone(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path,label,fold\na.wav,x,1\nb.wav,y,2\n")
    assert folds(corpus) == {(1, "a", "test"), (1, "b", "train"), (2, "a", "train"), (2, "b", "test")}
    assert (corpus.official_folds, corpus.fold_note) == (False, "as the table has them")


@pytest.mark.parametrize(
    "words", [("train", "valid", "test"), ("Training", "val", "eval"), ("dev", "VALIDATION", "evaluate")]
)
def test_subset_alone(words: tuple[str, str, str], tmp_path: Path) -> None:
    lines = [f"{name}.wav,x,{word}" for name, word in zip("abc", words)]
    corpus = read(tmp_path, "\n".join(["path,label,split", *lines]))
    assert folds(corpus) == {(1, "a", "train"), (1, "b", "valid"), (1, "c", "test")}


def test_fold_and_subset_are_rows_as_given(tmp_path: Path) -> None:
    text = "path,label,fold,subset\na.wav,x,1,train\nb.wav,y,1,test\na.wav,x,2,test\n"
    corpus = read(tmp_path, text)
    assert [clip.clip_id for clip in corpus.clips] == ["a", "b"]
    assert folds(corpus) == {(1, "a", "train"), (1, "b", "test"), (2, "a", "test")}
    with pytest.raises(DataError, match="lines 2 and 5: clip 'a' in fold 1 twice"):
        read(tmp_path, text + "a.wav,x,1,test\n")
    with pytest.raises(DataError, match="lines 2 and 5: clip 'a' with different contents"):
        read(tmp_path, text + "a.wav,y,3,test\n")


def test_pieces_of_files(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path,label,start,end\na.wav,x,0,2.5\na.wav,y,2.5,\nb.wav,x,,\n")
    assert [(c.clip_id, c.group, c.start, c.duration) for c in corpus.clips] == [
        ("a@0-2.5", "a.wav", 0.0, 2.5),
        ("a@2.5-", "a.wav", 2.5, 0.0),
        ("b", "b.wav", 0.0, 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("path,label,split\na.wav,x,train\na.wav,y,test\n", "lines 2 and 3: clip 'a' twice"),
        ("clip_id,path,label,split\n1,a.wav,x,train\n2,a.wav,x,test\n", "lines 2 and 3.*same file in train and test"),
        ("path,label,group,split\na.wav,x,g,train\nb.wav,x,g,test\n", "lines 2 and 3.*same group 'g'"),
        ("clip_id,path,label,group\n1,a.wav,x,g\n2,a.wav,x,h\n", "lines 2, 3: a.wav is in several groups"),
        ("clip_id,path,label\n1,a.wav,x\n1,b.wav,x\n", r"lines 2 and 3: clip '1' twice \(different rows\)"),
        ("path,label,fold\na.wav,x,0\nb.wav,x,1.5\n", r"(?s)line 2: fold '0'.*line 3: fold '1.5'"),
        ("path,label,split\na.wav,x,tset\n", "line 2: unknown subset 'tset'; did you mean 'test'"),
        (
            "path,label,start,end\na.wav,x,5,2\nb.wav,x,nan,3\n",
            r"(?s)line 2: end 2.0 is not after.*line 3: start 'nan'",
        ),
        ("path,label\na.wav,x;;y\nb.wav,x;x\n", r"(?s)line 2: a label is empty.*line 3: label 'x' stands 2 times"),
        ("clip_id,path,label\n,a.wav,x\n", "line 2: clip_id is empty"),
        ('path,label\na.wav,"x\ny"\n', "control character"),
        ("path,label\na.wav,caf\u00e9\nb.wav,cafe\u0301\n", "NFC and NFD"),
        ("path,label\na.wav,x\nno.wav,x\nneither.wav,y\n", r"(?s)2 problems.*line 3: 'no.wav'.*line 4: 'neither.wav'"),
        ("path,label\n.,x\na.wav,x\n", "line 2: '.' is not a regular file"),
    ],
)
def test_refused(text: str, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=match):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("../out.wav", "leads out of"),
        ("x/../../out.wav", "leads out of"),
        ("link.wav", "leads out of"),
        ("/etc/passwd", "absolute path"),
        ("C:/a.wav", "absolute path"),
        ("| touch gone", "never run"),
        ("touch gone |", "never run"),
        ("sub\\a.wav", "backslashes"),
        ("https://example.org/a.wav", "is an address"),
        (" ", "is no path"),
    ],
)
def test_paths_stay_inside_the_root(path: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "out.wav").touch()
    root = tmp_path / "root"
    (root / "x").mkdir(parents=True)
    (root / "link.wav").symlink_to(tmp_path / "out.wav")
    with pytest.raises(DataError, match=f"line 2.*{match}"):
        read(root, f"path,label\n{path},x\n")


def test_paths_may_leave_the_root_when_told_so(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "out.wav").touch()
    corpus = read(root, f"path,label\n../out.wav,x\n{tmp_path}/out.wav,x\n", allow_absolute=True)
    assert {clip.path for clip in corpus.clips} == {str(tmp_path.resolve() / "out.wav")}


def test_a_label_is_never_a_path(tmp_path: Path) -> None:
    corpus = read(tmp_path, "path,label\na.wav,../cafe/restaurant\nb.wav,/etc/passwd\n")
    assert corpus.classes == ("../cafe/restaurant", "/etc/passwd")


def test_a_root_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "e.wav").touch()
    text = "path,label\ne.wav,x\n"
    assert read(tmp_path, text, root=tmp_path / "audio").clips[0].path == str(tmp_path.resolve() / "audio" / "e.wav")
    with pytest.raises(
        DataError, match=f"(?s)is that the right folder.*they lie in {tmp_path.resolve()}/audio.*line 2"
    ):
        read(tmp_path, text)


def test_twins_in_case_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "A.wav").touch()
    corpus = read(tmp_path, "path,label\na.wav,Bus\nA.wav,bus \n")
    assert corpus.warnings == (
        "white space around labels or groups was taken off (line 3)",
        "labels differ in upper and lower case alone: 'Bus' and 'bus'",
        "clips differ in upper and lower case alone: 'a' and 'A'",
    )


def test_pieces_that_hold_nothing_end_prep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(8000, 0.1), 8000)
    pieces = {"whole": (0, 1), "one": (0.5, 0.500_1), "none": (0.5, 0.500_05), "behind": (1, 1.5), "long": (0.5, 1.2)}
    for name, (start, end) in pieces.items():
        (tmp_path / f"{name}.csv").write_text(f"path,start,end,label\na.wav,{start},{end},x\n")
        code = run(["prep", "table", str(tmp_path / f"{name}.csv"), str(tmp_path / name), "--jobs", "1", "--quiet"])
        told = capsys.readouterr().err
        assert code == (0 if name in ("whole", "one") else 3), told
        assert ("no sample" in told) == (name == "none") and ("has 1.000 s" in told) == (name in ("behind", "long"))


def test_another_number_of_folds_than_the_table_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (4, 8000))
    for name, samples in zip("abcd", noise):
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
    lines = [f"{name}.wav,{label},{fold}" for name, label, fold in zip("abcd", "xyxy", (1, 1, 2, 2))]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,fold", *lines]))

    def prep(output: str, *options: str) -> int:
        return run(
            ["prep", "table", str(tmp_path / "t.csv"), str(tmp_path / output), *options, "--jobs", "1", "--quiet"]
        )

    for n_folds in (3, 5):  # also what would be made where nothing is said
        assert prep("refused", "--set", f"n_folds={n_folds}") == 2
        told = capsys.readouterr().err
        assert f"t.csv: n_folds={n_folds}, but table has 2 folds of its own, which are kept; leave n_folds out" in told
    assert not (tmp_path / "refused").exists()
    assert prep("same", "--set", "n_folds=2") == prep("unsaid") == 0


def test_folds_are_five_where_nothing_is_said(tmp_path: Path) -> None:
    """And a directory that was made so is the one that is made with n_folds=5."""
    noise = np.random.default_rng(0).normal(0, 0.1, (12, 800))
    for number, samples in enumerate(noise):
        soundfile.write(tmp_path / f"{number}.wav", samples, 8000)
    (tmp_path / "t.csv").write_text("path,label\n" + "".join(f"{n}.wav,{'xy'[n % 2]}\n" for n in range(12)))
    arguments = ["prep", "table", str(tmp_path / "t.csv"), str(tmp_path / "data"), "--jobs", "1", "--quiet"]
    assert run(arguments) == run([*arguments, "--set", "n_folds=5"]) == 0
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["folds"]["numbers"] == [1, 2, 3, 4, 5]
    assert run([*arguments, "--set", "n_folds=4"]) == 2


def test_one_recording_in_two_classes_is_warned_of_though_folds_keep_it_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (4, 800))
    for name, samples in zip("abcde", [*noise, noise[0]]):
        soundfile.write(tmp_path / f"{name}.wav", samples, 8000)
    rows = "".join(f"{name}.wav,{label},{fold}\n" for name, label, fold in zip("abcde", "xyxyy", (1, 1, 2, 2, 1)))
    (tmp_path / "t.csv").write_text("path,label,fold\n" + rows)
    assert run(["prep", "table", str(tmp_path / "t.csv"), str(tmp_path / "data"), "--jobs", "1", "--quiet"]) == 0
    told = "1 pair of clips with the same audio in different classes: a (x) and e (y)"
    assert f"warning: {told}" in capsys.readouterr().err
    (kept,) = json.loads((tmp_path / "data" / "dataset.json").read_text())["warnings"]
    assert kept.startswith(told)
