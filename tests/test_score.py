"""What score prints: every number against scikit-learn, scipy or a count by hand; what it refuses and marks."""

import csv
import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import asctool
from made_posteriors import clips_of, drawn, make_store, make_tables, store_of_folds
from scipy import stats
from sklearn import metrics as sk

from asctool.cli import run
from asctool.errors import DataError, UsageError
from asctool.evaluation.protocol import MARK
from asctool.evaluation.systems import Folds
from asctool.stages import score as stage
from asctool.storage import explanation, manifest
from asctool.storage.dataset import FoldRow, Tables

TABLES = make_tables()
OVERLAPPING = Tables(
    TABLES.clips,
    tuple(
        FoldRow(fold, clip.clip_id, "test" if (i + fold) % 4 == 0 or i == 5 else "train")
        for fold in (1, 2, 3)
        for i, clip in enumerate(TABLES.clips)
    ),
    TABLES.classes,
)  # clip05 is tested three times


def truth_of(tables: Tables, fold: int) -> np.ndarray:
    return tables.targets(clips_of(tables, fold)).argmax(1)


def scored(tmp_path: Path, tables: Tables = TABLES, **options: object) -> tuple[dict, dict[int, np.ndarray]]:
    path, arrays = store_of_folds(tmp_path / "store", tables)
    return stage.score([path], **options).as_dict()["systems"][0], arrays


def test_figures_of_every_fold_are_those_of_scikit_learn(tmp_path: Path) -> None:
    found, arrays = scored(tmp_path, top=2)
    labels = range(3)
    for fold, array in arrays.items():
        truth, predicted = truth_of(TABLES, fold), array.argmax(1)
        options = {"labels": labels, "average": "macro", "zero_division": 0}
        one_hot = np.eye(3)[truth]
        expected = {
            "accuracy": sk.accuracy_score(truth, predicted),
            "macro_f1": sk.f1_score(truth, predicted, **options),
            "macro_precision": sk.precision_score(truth, predicted, **options),
            "macro_recall": sk.recall_score(truth, predicted, **options),
            "log_loss": sk.log_loss(truth, np.maximum(array, 1e-12), labels=labels),
            "brier": np.mean(((array - one_hot) ** 2).sum(1)),
            "expected_calibration_error": calibration_error(array, truth),
            "top_2_accuracy": sk.top_k_accuracy_score(truth, array, k=2, labels=labels),
            "rows": len(truth),
        }
        assert found["folds"][str(fold)] == pytest.approx(expected, rel=1e-5)


def calibration_error(array: np.ndarray, truth: np.ndarray) -> float:
    """By its definition, bin by bin: 15 of equal width, the upper end inside."""
    sure, right = array.max(1), array.argmax(1) == truth
    total = 0.0
    for low, high in pairwise(np.linspace(0, 1, 16)):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    return total


def test_means_over_folds_and_their_interval(tmp_path: Path) -> None:
    found, arrays = scored(tmp_path)
    for figure in ("accuracy", "log_loss"):
        values = np.array([found["folds"][str(fold)][figure] for fold in arrays])
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        expected = {"mean": values.mean(), "deviation": values.std(ddof=1), "low": low, "high": high}
        assert {key: found["mean"][figure][key] for key in expected} == pytest.approx(expected)


def test_an_interval_of_two_folds_stays_within_what_can_be(tmp_path: Path) -> None:
    tables = make_tables(n_folds=2)
    ids = [*clips_of(tables, 1), *clips_of(tables, 2)]
    rows = np.concatenate([tables.targets(ids[:6]), np.roll(tables.targets(ids[6:]), 1, 1)])
    path = make_store(tmp_path / "store", tables, ids, rows, fold=[1] * 6 + [2] * 6)
    _, columns, (row,) = stage.tables(stage.score([path]))[0]
    assert row[columns.index("95 % interval")] == "0.00 to 100.00"


def test_splits_that_share_clips_get_the_corrected_interval(tmp_path: Path) -> None:
    """Nadeau & Bengio 2003: variance (1 / n + test / training) s^2, by hand."""
    found, arrays = scored(tmp_path, OVERLAPPING)
    values = np.array([found["folds"][str(fold)]["accuracy"] for fold in arrays])
    sizes = [len(clips_of(OVERLAPPING, fold)) for fold in arrays]
    share = np.mean([size / (12 - size) for size in sizes])
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) * np.sqrt(1 / 3 + share)
    assert found["mean"]["accuracy"]["high"] - values.mean() == pytest.approx(half)
    assert "Nadeau & Bengio" in found["interval"]


def test_shared_test_clips_without_training_clips_have_no_interval() -> None:
    alone = Folds(True, float("nan")).summarise(np.array([0.5, 0.7]))
    assert alone.mean == pytest.approx(0.6) and np.isnan([alone.low, alone.high]).all()


def test_classes_confusions_and_reliability_over_all_folds(tmp_path: Path) -> None:
    found, arrays = scored(tmp_path)
    truth = np.concatenate([truth_of(TABLES, fold) for fold in arrays])
    posteriors = np.concatenate(list(arrays.values()))
    predicted = posteriors.argmax(1)
    precision, recall, f1, rows = sk.precision_recall_fscore_support(truth, predicted, labels=range(3), zero_division=0)
    for i, name in enumerate(TABLES.classes):
        expected = {"precision": precision[i], "recall": recall[i], "f1": f1[i], "rows": rows[i]}
        assert found["per_class"][name] == pytest.approx(expected)
    assert found["confusion"] == sk.confusion_matrix(truth, predicted, labels=range(3)).tolist()
    assert found["pooled"]["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    sure, right = posteriors.max(1), predicted == truth
    in_last = sure > 14 / 15
    assert found["reliability"]["rows"][-1] == in_last.sum()
    assert found["reliability"]["accuracy"][-1] == pytest.approx(right[in_last].mean())
    assert found["reliability"]["confidence"][-1] == pytest.approx(sure[in_last].mean(), rel=1e-6)
    assert found["reliability"]["accuracy"][0] is None  # an empty bin: three classes cannot be less sure than a third


@pytest.mark.parametrize("column", ["city", "group", "labels"])
def test_groups_are_counted_over_folds(column: str, tmp_path: Path) -> None:
    found, arrays = scored(tmp_path, by=(column,))
    right: dict[str, list[bool]] = {}
    for fold, array in arrays.items():
        for clip_id, answer, truth in zip(clips_of(TABLES, fold), array.argmax(1), truth_of(TABLES, fold)):
            clip = TABLES.by_id[clip_id]
            value = {"city": clip.extra["city"], "group": clip.group, "labels": clip.labels[0]}[column]
            right.setdefault(value, []).append(answer == truth)
    expected = {value: {"accuracy": np.mean(of), "rows": len(of)} for value, of in right.items()}
    assert found["groups"][column] == {value: pytest.approx(of) for value, of in expected.items()}


def two_systems(tmp_path: Path, tables: Tables) -> tuple[list[Path], dict[str, dict[int, np.ndarray]]]:
    """Stores of two systems, and which clips of each fold each gets right."""
    paths, right = [], {}
    for seed, name in enumerate(("first", "second")):
        path, arrays = store_of_folds(tmp_path / name, tables, name, seed)
        paths.append(path)
        right[name] = {fold: array.argmax(1) == truth_of(tables, fold) for fold, array in arrays.items()}
    return paths, right


def test_comparison_on_folds_that_share_out_the_clips(tmp_path: Path) -> None:
    tables = make_tables(60, 5)
    paths, right = two_systems(tmp_path, tables)
    found = stage.score(paths, compared=("first", "second")).comparison
    first, second = (np.concatenate(list(right[name].values())) for name in right)
    only = (first & ~second).sum(), (second & ~first).sum()
    assert (found.mcnemar.only_first, found.mcnemar.only_second) == only
    assert found.mcnemar.p_value == pytest.approx(stats.binomtest(int(only[0]), int(sum(only))).pvalue)
    assert found.bootstrap.difference == pytest.approx(first.mean() - second.mean())
    assert found.recordings == 30 and found.clips == 60 and found.tested_once
    differences = [right["first"][fold].mean() - right["second"][fold].mean() for fold in right["first"]]
    assert dict(found.folds) == pytest.approx(dict(enumerate(differences, 1)))
    moved = [d for d in np.round(differences, 12) if d]
    assert found.wilcoxon.smallest_p == 2 / 2 ** len(moved)
    t_value = np.mean(differences) / np.sqrt((1 / 5 + 12 / 48) * np.var(differences, ddof=1))
    assert found.resampled.p_value == pytest.approx(2 * stats.t.sf(abs(t_value), 4))


def test_comparison_on_splits_that_share_clips_counts_each_clip_once(tmp_path: Path) -> None:
    paths, right = two_systems(tmp_path, OVERLAPPING)
    found = stage.score(paths, compared=("first", "second")).comparison
    gain: dict[str, int] = {}
    for fold, of in right["first"].items():
        for clip, a, b in zip(clips_of(OVERLAPPING, fold), of, right["second"][fold]):
            gain[clip] = gain.get(clip, 0) + int(a) - int(b)
    assert found.clips == len(gain) == 9 and not found.tested_once
    assert found.mcnemar.only_first == sum(value > 0 for value in gain.values())
    assert found.mcnemar.only_second == sum(value < 0 for value in gain.values())
    assert found.wilcoxon is None  # which takes the folds for independent
    assert found.resampled.summary.n == 3


def test_the_comparison_is_told_with_its_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths, _ = two_systems(tmp_path, make_tables(60, 5))
    capsys.readouterr()
    assert run(["score", *map(str, paths), "--compare", "first", "second"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"folds differ: it cannot go below 0\.\d+", said)
    assert "Nadeau & Bengio 2003" in said and "McNemar, exact, 60 clips" in said


TAGGED = [("bus",), ("park", "tram"), ("bus", "tram"), ("park",), ("park",), ("bus", "park", "tram")]


@pytest.mark.parametrize("kind", ["posterior", "tag"])
def test_tags_are_judged_by_lwlrap_and_map(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = make_tables(6, 2, TAGGED)
    path, arrays = store_of_folds(tmp_path / "tags", tables, kind=kind)
    found = stage.score([path], by=("city",)).as_dict()["systems"][0]
    for fold, array in arrays.items():
        truth = tables.targets(clips_of(tables, fold)) > 0
        weights = truth.sum(1)
        expected = sk.label_ranking_average_precision_score(truth, array, sample_weight=weights)
        assert found["folds"][str(fold)]["lwlrap"] == pytest.approx(expected)
        expected = sk.average_precision_score(truth, array, average="macro")
        assert found["folds"][str(fold)]["mean_average_precision"] == pytest.approx(expected)
    truth = np.concatenate([tables.targets(clips_of(tables, fold)) > 0 for fold in arrays])
    both = np.concatenate(list(arrays.values()))
    expected = sk.average_precision_score(truth, both, average=None)
    assert [found["per_class"][name]["average_precision"] for name in tables.classes] == pytest.approx(expected)
    weights = truth.sum(1)
    overall = sk.label_ranking_average_precision_score(truth, both, sample_weight=weights)
    assert found["pooled"]["lwlrap"] == pytest.approx(overall)
    cities = np.array([tables.by_id[c].extra["city"] for fold in arrays for c in clips_of(tables, fold)])
    rouen = cities == "Rouen"
    expected = sk.label_ranking_average_precision_score(truth[rouen], both[rouen], sample_weight=weights[rouen])
    assert found["groups"]["city"]["Rouen"]["lwlrap"] == pytest.approx(expected)
    capsys.readouterr()
    assert run(["score", str(path)]) == 0
    assert f"{100 * np.mean([f['lwlrap'] for f in found['folds'].values()]):.2f}" in capsys.readouterr().out


def test_segments_and_clips_stand_side_by_side(tmp_path: Path) -> None:
    clips, arrays = store_of_folds(tmp_path / "clips", TABLES)
    ids = [clip for fold in arrays for clip in clips_of(TABLES, fold) for _ in range(2)]
    folds = [fold for fold in arrays for _ in clips_of(TABLES, fold) for _ in range(2)]
    rows = drawn(24, seed=9)
    segments = make_store(tmp_path / "segments", TABLES, ids, rows, fold=folds, level="segment", start=[0.0, 2.0] * 12)
    accuracies, probabilities, *_ = stage.tables(stage.score([segments, clips]))
    row = dict(zip(accuracies.columns, accuracies.rows[0]))
    truth = np.array([TABLES.targets([clip]).argmax() for clip in ids])
    by_fold = [100 * np.mean((rows.argmax(1) == truth)[np.array(folds) == fold]) for fold in arrays]
    assert row["segment accuracy"] == f"{np.mean(by_fold):.2f} ± {np.std(by_fold, ddof=1):.2f}"
    by_fold = [100 * np.mean(array.argmax(1) == truth_of(TABLES, fold)) for fold, array in arrays.items()]
    assert row["clip accuracy"] == f"{np.mean(by_fold):.2f} ± {np.std(by_fold, ddof=1):.2f}"
    row = dict(zip(probabilities.columns, probabilities.rows[0]))
    losses = [sk.log_loss(truth_of(TABLES, f), np.maximum(a, 1e-12), labels=range(3)) for f, a in arrays.items()]
    assert row["clip log loss"] == f"{np.mean(losses):.3f}" != row["segment log loss"]


def test_everything_is_written_in_four_ways(tmp_path: Path) -> None:
    paths, _ = two_systems(tmp_path, make_tables(60, 5))
    scores = stage.score(paths, by=("city",), compared=("first", "second"))
    assert stage.write(scores, tmp_path / "out", False)
    assert not stage.write(scores, tmp_path / "out", False)
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    mean = found["systems"][1]["mean"]["accuracy"]
    percent = f"{100 * mean['mean']:.2f}"
    assert f"| second | 5 | {percent} ± " in (tmp_path / "out" / "scores.md").read_text()
    assert rf"second & 5 & {percent} $\pm$ " in (tmp_path / "out" / "scores.tex").read_text()
    rows = list(csv.DictReader((tmp_path / "out" / "scores.csv").open()))
    (row,) = [r for r in rows if (r["system"], r["scope"], r["figure"]) == ("second", "mean over folds", "accuracy")]
    assert [float(row[key]) for key in ("value", "low", "high")] == [mean["mean"], mean["low"], mean["high"]]
    (row,) = [r for r in rows if (r["system"], r["scope"], r["name"]) == ("first", "city", "Wien")]
    assert float(row["value"]) == found["systems"][0]["groups"]["city"]["Wien"]["accuracy"]
    for name in ("first", "second"):
        for figure in ("confusion", "reliability"):
            assert (tmp_path / "out" / f"{figure}-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_names_that_differ_in_signs_have_figures_of_their_own(tmp_path: Path) -> None:
    paths = [store_of_folds(tmp_path / str(i), TABLES, name, i)[0] for i, name in enumerate(("a b", "a-b"))]
    stage.write(stage.score(paths), tmp_path / "out", False)
    assert {path.name for path in (tmp_path / "out").glob("confusion-*")} == {
        "confusion-a-b.png",
        "confusion-a-b-2.png",
    }


FAIR = {"select": "last", "kernel and C": "given"}


@pytest.mark.parametrize(
    "protocol",
    [
        {"select": "test"},
        {"select": ["last", "test"]},
        {"select": "valid", "kernel and C": "chosen on test rows"},
        {"of": {"a": FAIR, "b": {"of": {"c": {"select": "test"}}}}, "fusion": "fixed rule"},
    ],
)
def test_what_was_chosen_on_test_data_is_marked_everywhere(protocol: dict, tmp_path: Path) -> None:
    bad, _ = store_of_folds(tmp_path / "bad", TABLES, "bad", protocol=protocol)
    fair, _ = store_of_folds(tmp_path / "fair", TABLES, "fair", 1, protocol=FAIR)
    scores = stage.score([bad, fair], by=("city",), compared=("bad", "fair"))
    stage.write(scores, tmp_path / "out", False)
    marked = {system["system"]: system["selected_on_test"] for system in scores.as_dict()["systems"]}
    assert marked == {"bad": True, "fair": False}
    for title, columns, rows in stage.tables(scores):
        told = [title, *columns, *(row[0] for row in rows)]
        assert any("fair" in text for text in told)
        for text in told:
            assert f"fair{MARK}" not in text
    shown = (tmp_path / "out" / "scores.md").read_text()
    assert shown.count(f"bad{MARK}") == 5  # two tables of systems, the cities, the comparison, the confusions
    assert "no fair result" in shown and "(chosen on test data!)" in (tmp_path / "out" / "scores.tex").read_text()
    for row in csv.DictReader((tmp_path / "out" / "scores.csv").open()):
        assert row["selected_on_test"] == str(row["system"] == "bad").lower()


def test_one_fold_of_several_chosen_on_test_data_marks_the_system(tmp_path: Path) -> None:
    paths = [
        make_store(tmp_path / f"{fold}", TABLES, clips_of(TABLES, fold), drawn(4), fold=fold, protocol=protocol)
        for fold, protocol in ((1, {"select": "test", "epoch": 3}), (2, {"select": "last", "epoch": 9}))
    ]
    for order in (paths, paths[::-1]):
        assert stage.score(order).systems[0].selected_on_test


def test_the_heading_tells_what_chose_and_what_splits_these_are(tmp_path: Path) -> None:
    tables = make_tables(splits="made from seed 0, not the official ones")
    path, _ = store_of_folds(tmp_path / "store", tables, protocol={"select": "valid", "kernel and C": "given"})
    title = stage.tables(stage.score([path]))[0].title
    assert "epoch valid, kernel and C given" in title and "NOT THE OFFICIAL ONES" in title


def test_missing_test_clips_are_refused_or_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = clips_of(TABLES, 1)[1:]
    path = make_store(tmp_path / "less", TABLES, ids, drawn(3))
    with pytest.raises(DataError, match="ours, fold 1: 1 of its test clips have no row: clip00"):
        stage.score([path])
    scores = stage.score([path], allow_missing=True)
    assert scores.systems[0].pooled.rows == 3 and "1 TEST CLIPS ARE MISSING" in stage.tables(scores)[0].title
    assert "clip00" in caplog.text


def test_validation_rows_are_judged_where_asked_for(tmp_path: Path) -> None:
    """Test rows have no part in it, and tables say which they are of."""
    folds = (*(FoldRow(1, f"clip{i:02d}", ("train", "valid", "test")[i // 3 % 3]) for i in range(12)),)
    tables = replace(TABLES, folds=folds)
    ids = [row.clip_id for row in folds if row.subset != "train"]
    subsets = [row.subset for row in folds if row.subset != "train"]
    of_class = np.eye(3)[[int(clip_id[4:]) % 3 for clip_id in ids]]
    right = np.array([subset == "valid" for subset in subsets])
    rows = np.where(right[:, None], of_class, np.roll(of_class, 1, 1))
    path = make_store(tmp_path / "store", tables, ids, rows, subset=subsets, protocol={"select": "valid"})
    for subset, accuracy in (("test", 0), ("valid", 1)):
        scores = stage.score([path], subset=subset)
        assert scores.systems[0].summary("accuracy").mean == accuracy and scores.as_dict()["subset"] == subset
        title = stage.tables(scores)[0].title
        assert title.startswith(f"{subset} rows") and ("may have chosen settings" in title) == (subset == "valid")
    with pytest.raises(UsageError, match="unknown subset 'train'"):
        stage.score([path], subset="train")
    with pytest.raises(DataError, match="no valid rows"):
        stage.score([store_of_folds(tmp_path / "other", TABLES)[0]], subset="valid")


def test_systems_judged_on_other_clips_do_not_stand_in_one_table(tmp_path: Path) -> None:
    other = make_tables(n_folds=4)
    paths = [
        store_of_folds(tmp_path / "three", TABLES, "three")[0],
        store_of_folds(tmp_path / "four", other, "four")[0],
    ]
    with pytest.raises(DataError, match="test clips of four are not those of three; their folds were made differently"):
        stage.score(paths)
    with pytest.raises(DataError, match="their folds were made differently"):
        stage.score(paths, allow_missing=True)
    less = make_store(tmp_path / "less", TABLES, clips_of(TABLES, 1)[1:], drawn(3), "less")  # of the same folds
    assert len(stage.score([paths[0], less], allow_missing=True).systems) == 2


def test_a_system_adds_fold_by_fold(tmp_path: Path) -> None:
    path, _ = store_of_folds(tmp_path / "store", TABLES)
    whole = stage.score([path], by=("city",)).systems[0]
    assert whole.pooled.rows == 12 and whole.pooled == sum_of(whole.folds.values())
    with pytest.raises(DataError, match="no different folds of one system"):
        whole + whole


def sum_of(judgements):  # type: ignore[no-untyped-def]
    first, *others = judgements
    for other in others:
        first = other + first
    return first


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"by": ("citi",)}, UsageError, "unknown column of clips.csv 'citi'; did you mean 'city'"),
        ({"compared": ("ours", "theirs")}, UsageError, "unknown system 'theirs'"),
        ({"compared": ("ours", "ours")}, UsageError, "ours and itself"),
        ({"top": 5}, UsageError, "fewer than the 3 classes"),
    ],
)
def test_slips(options: dict, error: type[Exception], match: str, tmp_path: Path) -> None:
    path, _ = store_of_folds(tmp_path / "store", TABLES)
    with pytest.raises(error, match=match):
        stage.score([path], **options)


def test_segments_cannot_be_compared_nor_clips_without_labels_scored(tmp_path: Path) -> None:
    paths = [store_of_folds(tmp_path / name, TABLES, name, level="segment")[0] for name in ("first", "second")]
    with pytest.raises(UsageError, match="first has segments only"):
        stage.score(paths, compared=("first", "second"))
    unlabelled = make_tables(labels=[()] * 12)
    path, _ = store_of_folds(tmp_path / "new", unlabelled)
    with pytest.raises(DataError, match="12 test clips have no label"):
        stage.score([path])


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.full((4, 3), np.nan), "no posteriors"),
        (np.full((4, 3), 0.9), "no posteriors"),
        (np.full((4, 2), 0.5), "rows of shape"),
    ],
)
def test_rows_that_are_no_posteriors(array: np.ndarray, match: str, tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", TABLES, clips_of(TABLES, 1), array)
    with pytest.raises(DataError, match=match):
        stage.score([path])


def test_a_row_that_is_there_twice_and_order(tmp_path: Path) -> None:
    ids, rows = clips_of(TABLES, 1), drawn(4)
    with pytest.raises(DataError, match="clip clip00 at 0 s is there twice"):
        stage.score([make_store(tmp_path / "twice", TABLES, [*ids, ids[0]], drawn(5))])
    one = stage.score([make_store(tmp_path / "one", TABLES, ids, rows)])
    other = stage.score([make_store(tmp_path / "other", TABLES, ids[::-1], rows[::-1])])
    assert one.as_dict() == other.as_dict()


def test_scores_are_followed_to_what_was_judged(tmp_path: Path) -> None:
    path, _ = store_of_folds(tmp_path / "ours", make_tables())
    asctool("score", path, "--out", tmp_path / "scores", "--quiet")
    found = explanation.explain(tmp_path / "scores")
    assert [Path(entry["path"]).name for entry in found["made_from"]] == ["ours"]
    before = manifest.read(tmp_path / "scores")["fingerprint"]
    shutil.rmtree(path)
    assert "was made from what is not there" in explanation.explain(tmp_path / "scores")["lost"][0]
    path, _ = store_of_folds(tmp_path / "ours", make_tables())
    asctool("score", path, "--out", tmp_path / "scores", "--quiet")
    assert manifest.read(tmp_path / "scores")["fingerprint"] == before
