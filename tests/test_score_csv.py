"""Posteriors of other people's systems in, submissions out: round trips, names, folds, and what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
from made_posteriors import CLASSES, clips_of, drawn, make_store, make_tables, meanwhile, store_of_folds

from asctool.cli import run
from asctool.errors import DataError, UsageError
from asctool.stages import import_posteriors as importing
from asctool.stages import score, submit
from asctool.storage import data_directory, manifest, posteriors
from asctool.storage.dataset import FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import Store

TABLES = make_tables()
NEW = Tables(tuple(c for c in make_tables(labels=[()] * 12).clips), (), CLASSES)  # no labels, no folds


def data_of(path: Path, tables: Tables = TABLES) -> Path:
    """A data directory of these tables, of audio that is nowhere."""
    path.mkdir()
    files = {clip.path: {"sha256": "0" * 64, "sample_rate": 8000, "channels": 1} for clip in tables.clips}
    data_directory.write(path, Recipe("data", "prep", 1, {"path": str(path)}), tables, {"files": files})
    return path


def table_of(path: Path, rows: "list[list[object]]", header: "tuple[str, ...]" = ("clip_id", *CLASSES)) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rows_of(ids: "list[str]", array: np.ndarray) -> "list[list[object]]":
    return [[clip, *map(float, row)] for clip, row in zip(ids, array)]


def imported(table: Path, data: Path, **options: object) -> Path:
    output = table.with_suffix("")
    own = importing.configure({key: v for key, v in options.items() if key not in ("fold", "system")})
    importing.import_posteriors(table, data, output, own, options.get("fold"), options.get("system"))  # type: ignore[arg-type]
    return output


def test_what_is_submitted_comes_back_the_same(tmp_path: Path) -> None:
    store, arrays = store_of_folds(tmp_path / "ours", TABLES)
    submit.submit(store, tmp_path / "theirs.csv")
    back = imported(tmp_path / "theirs.csv", data_of(tmp_path / "data"))
    for block in posteriors.load([back]).blocks:
        assert block.clip_ids.tolist() == clips_of(TABLES, block.fold)  # each in the fold that tests it
        np.testing.assert_array_equal(block.posteriors, arrays[block.fold])
    ours, theirs = (score.score([path]).systems[0] for path in (store, back))
    assert ours.figures == theirs.figures and theirs.name == "theirs"


def test_submit_and_import_through_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = store_of_folds(tmp_path / "ours", TABLES)
    data_of(tmp_path / "data")
    out = str(tmp_path / "table.csv")
    for said in ("written", "is there already"):
        assert run(["submit", str(store), out]) == 0
        assert said in capsys.readouterr().err
    for said in ("written", "is there already"):
        command = ["import-posteriors", out, str(tmp_path / "data"), str(tmp_path / "theirs"), "--system", "theirs"]
        assert run([*command, "--select", "test"]) == 0
        assert said in capsys.readouterr().err
    assert run(["fuse", str(store), str(tmp_path / "theirs"), str(tmp_path / "both")]) == 0
    capsys.readouterr()
    assert run(["score", str(tmp_path / "both")]) == 0
    assert "ours + theirs (chosen on test data!)" in capsys.readouterr().out


def test_what_another_imported_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, data = table_of(tmp_path / "t.csv", ROWS), data_of(tmp_path / "data")
    meanwhile(monkeypatch, lambda: imported(table, data, system="theirs"))
    with pytest.raises(UsageError, match=r"was made with other options \(system: theirs -> ours\)"):
        imported(table, data, system="ours")
    assert manifest.read(tmp_path / "t")["systems"] == ["theirs"]


def test_labels_and_both_in_the_order_of_the_clips(tmp_path: Path) -> None:
    ids = [clip.clip_id for clip in NEW.clips]
    array = drawn(12)
    store = make_store(tmp_path / "new", NEW, ids[::-1], array[::-1])
    submit.submit(store, tmp_path / "labels.tsv", "labels")
    lines = [line.split("\t") for line in (tmp_path / "labels.tsv").read_text().splitlines()]
    assert lines == [["filename", "scene_label"]] + [
        [f"{clip}.wav", CLASSES[row.argmax()]] for clip, row in zip(ids, array)
    ]
    submit.submit(store, tmp_path / "both.csv", "both")
    rows = list(csv.DictReader((tmp_path / "both.csv").open()))
    assert [row["scene_label"] for row in rows] == [line[1] for line in lines[1:]]
    np.testing.assert_array_equal(np.array([[row[c] for c in CLASSES] for row in rows], np.float32), array)
    back = imported(tmp_path / "both.csv", data_of(tmp_path / "data", NEW))  # by the names of files
    assert posteriors.load([back]).blocks[0].clip_ids.tolist() == ids


def test_folds_of_an_unlabelled_set_are_joined(tmp_path: Path) -> None:
    """Five networks classify one evaluation set: the product of what they say, by hand."""
    ids = [clip.clip_id for clip in NEW.clips] * 2
    array = drawn(24)
    store = make_store(tmp_path / "new", NEW, ids, array, fold=[1] * 12 + [2] * 12)
    submit.submit(store, tmp_path / "out.csv")
    written = np.loadtxt(tmp_path / "out.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3))
    product = np.maximum(array[:12], 1e-12).astype(float) * np.maximum(array[12:], 1e-12)
    np.testing.assert_allclose(written, product / product.sum(1, keepdims=True), atol=1e-7)


def test_columns_of_folds_and_of_segments(tmp_path: Path) -> None:
    ids = [clip for fold in (1, 2) for clip in clips_of(TABLES, fold) for _ in range(2)]
    array = drawn(len(ids))
    rows = [[clip, 1 + (i >= 8), 2.0 * (i % 2), *map(float, row)] for i, (clip, row) in enumerate(zip(ids, array))]
    table = table_of(tmp_path / "t.csv", rows[::-1], ("fname", "fold", "start", *CLASSES))
    for row in rows:
        row[0] = f"some/folder/{row[0]}.wav"
    table_of(table, rows[::-1], ("fname", "fold", "start", *CLASSES))
    blocks = posteriors.load([imported(table, data_of(tmp_path / "data"))]).blocks
    assert [(block.fold, block.level) for block in blocks] == [(1, "segment"), (2, "segment")]
    np.testing.assert_array_equal(np.concatenate([block.posteriors for block in blocks]), array)
    assert blocks[0].start.tolist() == [0, 2] * 4


def test_training_rows_keep_their_subset(tmp_path: Path) -> None:
    ids = [clip.clip_id for clip in TABLES.clips]
    table = table_of(tmp_path / "t.csv", rows_of(ids, drawn(12)))
    store = Store(imported(table, data_of(tmp_path / "data"), fold=2), "posterior")
    columns = store.columns("clip_id", "subset")
    of_clip = TABLES.subset_of(2)
    assert [of_clip[clip] for clip in columns["clip_id"].tolist()] == columns["subset"].tolist()


def test_tags_need_not_sum_to_one(tmp_path: Path) -> None:
    labels = [("bus",), ("bus", "park"), ("tram",)] * 4
    tables = make_tables(labels=labels)
    ids = [clip.clip_id for clip in tables.clips]
    values = np.random.default_rng(0).normal(size=(12, 3))
    table = table_of(tmp_path / "t.csv", rows_of(ids, values))
    store = imported(table, data_of(tmp_path / "data", tables), kind="tag")
    assert 0 < score.score([store]).systems[0].pooled.figures()["lwlrap"] < 1
    with pytest.raises(UsageError, match="names one class a clip"):
        submit.submit(store, tmp_path / "out.csv", "labels")


def test_sums_are_mended_only_when_asked(tmp_path: Path) -> None:
    ids, array = clips_of(TABLES, 1), 2 * drawn(4).astype(float)
    table, data = table_of(tmp_path / "t.csv", rows_of(ids, array)), data_of(tmp_path / "data")
    with pytest.raises(DataError, match=r"(?s)4 problems.*line 2: the probabilities sum to 2, not to 1; --normalise"):
        imported(table, data)
    blocks = posteriors.load([imported(table, data, normalise=True)]).blocks
    np.testing.assert_allclose(blocks[0].posteriors, array / 2, rtol=1e-6)


def change(rows: "list[list[object]]", row: int, column: int, value: object) -> "list[list[object]]":
    return [[value if (i, j) == (row, column) else v for j, v in enumerate(line)] for i, line in enumerate(rows)]


ROWS = rows_of(clips_of(TABLES, 1), np.full((4, 3), [0.5, 0.25, 0.25]))
HEADER = ("clip_id", *CLASSES)
SLIPS = {
    "no such clip": (HEADER, change(ROWS, 1, 0, "clip99"), {}, "line 3: 'clip99' is no clip of the data"),
    "a class is missing": (HEADER[:3], [r[:3] for r in ROWS], {}, "1 of 3 classes have no column: tram"),
    "a column too many": ((*HEADER, "trams"), [[*r, 0] for r in ROWS], {}, "'trams'; did you mean 'tram'"),
    "no column of clips": (("clip", *CLASSES), ROWS, {}, "no column for the clips"),
    "no number": (HEADER, change(ROWS, 0, 2, "half"), {}, "line 2: park is 'half', no finite number"),
    "not finite": (HEADER, change(ROWS, 0, 2, "inf"), {}, "park is 'inf', no finite number"),
    "logits": (HEADER, change(ROWS, 3, 1, -4), {}, "line 5: -4 is no probability; are these logits"),
    "twice": (HEADER, [*ROWS, ROWS[0]], {}, "lines 2 and 6: clip 'clip00' twice in fold 1"),
    "one is missing": (HEADER, ROWS[1:], {}, "1 of 4 test clips have no row: clip00"),
    "none sums to one": (HEADER, change(change(ROWS, 0, 1, 0), 0, 2, 0.1), {}, "sum to 0.35, not to 1"),
    "another fold": (("fold", *HEADER), [["one", *r] for r in ROWS], {}, "fold 'one' is no whole number"),
    "short row": (HEADER, [*ROWS[:3], ROWS[3][:2]], {}, "line 5: 2 fields"),
}


@pytest.mark.parametrize("case", SLIPS)
def test_slips_are_told_with_their_lines(case: str, tmp_path: Path) -> None:
    header, rows, options, match = SLIPS[case]
    table = table_of(tmp_path / "t.csv", rows, header)
    with pytest.raises(DataError, match=match):
        imported(table, data_of(tmp_path / "data"), **options)
    assert not (tmp_path / "t").exists()


def test_clips_that_several_folds_test_need_a_fold(tmp_path: Path) -> None:
    tables = Tables(TABLES.clips, (*TABLES.folds, FoldRow(4, "clip00", "test"), FoldRow(4, "clip01", "train")), CLASSES)
    data = data_of(tmp_path / "data", tables)
    table = table_of(tmp_path / "t.csv", ROWS)
    with pytest.raises(DataError, match="clip 'clip00' is tested by folds 1, 4; say which with --fold"):
        imported(table, data)
    assert posteriors.load([imported(table, data, fold=1)]).blocks[0].fold == 1
    with pytest.raises(UsageError, match="there is no fold 9"):
        imported(table_of(tmp_path / "u.csv", ROWS), data, fold=9)


def test_missing_clips_pass_when_asked_and_the_score_still_tells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of(tmp_path / "t.csv", ROWS[1:])
    store = imported(table, data_of(tmp_path / "data"), allow_missing=True)
    assert "1 of 4 test clips have no row: clip00" in caplog.text
    with pytest.raises(DataError, match="1 of its test clips have no row"):
        score.score([store])
    with pytest.raises(DataError, match="1 clips have no row: clip00"):
        submit.submit(store, tmp_path / "out.csv")
    assert submit.submit(store, tmp_path / "out.csv", allow_missing=True)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 4


def test_submissions_refuse(tmp_path: Path) -> None:
    ours, _ = store_of_folds(tmp_path / "ours", TABLES)
    segments, _ = store_of_folds(tmp_path / "segments", TABLES, level="segment")
    with pytest.raises(UsageError, match=r"must end in \.csv, \.tsv, \.txt"):
        submit.submit(ours, tmp_path / "out.xls")
    with pytest.raises(UsageError, match="unknown columns 'label'; did you mean 'labels'"):
        submit.submit(ours, tmp_path / "out.csv", "label")
    with pytest.raises(UsageError, match="holds segments; fuse them to clips first"):
        submit.submit(segments, tmp_path / "out.csv")
    (tmp_path / "out.csv").write_text("mine\n")
    with pytest.raises(UsageError, match="is there already, and is another one"):
        submit.submit(ours, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine\n"
    assert submit.submit(ours, tmp_path / "out.csv", force=True)
