"""Tables as Markdown, LaTeX and csv; comparisons and protocols as pure values."""

import csv
import io

import numpy as np
import pytest
from scipy import stats

from asctool.errors import DataError
from asctool.evaluation import comparison, protocol, significance
from asctool.evaluation.comparison import Outcome
from asctool.evaluation.tables import Table, csv_text, latex, markdown
from asctool.storage.posteriors import merge_protocols

ODD = Table("50 % of a_b", ["system", "x"], [["a|b & c\\d", "1 ± 2"], ["[new]\nline", "#~^"]])


def test_markdown_keeps_a_cell_a_cell() -> None:
    lines = markdown([ODD]).splitlines()
    assert lines[2:] == ["| system | x |", "| --- | --- |", "| a\\|b & c\\d | 1 ± 2 |", "| [new] line | #~^ |"]


def test_latex_escapes_what_it_would_run() -> None:
    text = latex([ODD])
    assert r"\caption{50 \% of a\_b}" in text and r"\begin{tabular}{lr}" in text
    assert r"a|b \& c\textbackslash{}d & 1 $\pm$ 2 \\" in text
    assert r"\relax [new]" in text and r"\#\textasciitilde{}\textasciicircum{}" in text


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_csv_reads_back_as_it_was(delimiter: str) -> None:
    rows = [["a,b", 'say "x"', "1\r2"], ["\t", "", "=1+1"]]
    text = csv_text(["one", "two", "three"], rows, delimiter)
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) == [["one", "two", "three"], *rows]


def test_resampled_t_is_the_plain_t_test_where_nothing_is_shared() -> None:
    """As the share of test clips goes to zero, the correction goes away."""
    differences = np.random.default_rng(0).normal(0.5, 1, 12)
    ours = significance.resampled_t(differences, 1e-12)
    assert ours.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)


def test_resampled_t_by_hand_and_its_interval_agrees_with_its_p() -> None:
    """LITIS: 20 splits, 607 / 2419; p is 5 % where the interval's end is zero."""
    differences = np.linspace(-1, 1, 20)
    error = np.sqrt((1 / 20 + 607 / 2419) * differences.var(ddof=1))
    shifted = differences + stats.t.ppf(0.975, 19) * error
    ours = significance.resampled_t(shifted, 607 / 2419)
    assert ours.p_value == pytest.approx(0.05) and ours.summary.low == pytest.approx(0, abs=1e-12)


def test_resampled_t_never_finds_in_repeats_what_one_split_does_not_hold() -> None:
    """Twenty copies of five differences: the plain test takes them for new evidence."""
    five = np.array([0.02, -0.01, 0.03, 0.01, 0.0])
    p_few, p_many = (significance.resampled_t(np.tile(five, n), 0.25).p_value for n in (1, 200))
    assert p_many > 0.05 > stats.ttest_1samp(np.tile(five, 200), 0).pvalue
    assert p_few > 0.05


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.1, 0.0)])
def test_resampled_t_of_equal_differences(value: float, p: float) -> None:
    assert significance.resampled_t(np.full(4, value), 0.25).p_value == p


def test_resampled_t_needs_two_folds() -> None:
    with pytest.raises(DataError, match="needs two at least"):
        significance.resampled_t(np.array([0.1]), 0.25)


def outcomes(ids: "list[list[str]]", right: "list[list[int]]") -> dict[int, Outcome]:
    return {i: Outcome(np.array(a), np.array(b, bool)) for i, (a, b) in enumerate(zip(ids, right), 1)}


def test_a_clip_of_several_folds_counts_once_by_hand() -> None:
    """x: first right twice, second once; y: even; z: second alone."""
    ids = [["x", "y"], ["x", "y", "z"]]
    first, second = outcomes(ids, [[1, 1], [1, 0, 0]]), outcomes(ids, [[0, 0], [1, 1, 1]])
    found = comparison.compare(("a", "b"), first, second, {"x": "r", "y": "r", "z": "s"}, 0.25)
    assert (found.mcnemar.only_first, found.mcnemar.only_second, found.clips) == (1, 1, 3)
    assert found.recordings == 2 and found.wilcoxon is None
    assert dict(found.folds) == pytest.approx({1: 1.0, 2: 1 / 3 - 1})
    assert found.bootstrap.difference == pytest.approx(3 / 5 - 3 / 5)


def test_one_fold_has_clips_to_test_and_no_folds() -> None:
    one = outcomes([["x", "y"]], [[1, 1]])
    found = comparison.compare(("a", "b"), one, outcomes([["x", "y"]], [[0, 1]]), {"x": "x", "y": "y"}, 0.25)
    assert found.resampled is None and found.mcnemar.p_value == 1
    assert "takes two folds at least" in comparison.rows(found)[3][2]


@pytest.mark.parametrize(
    ("ids", "match"),
    [([["x", "y"]], "a has folds 1, 2, b has 1"), ([["x", "y"], ["x", "q"]], "fold 2: 2 clips are of a or b alone")],
)
def test_only_the_same_clips_are_compared(ids: "list[list[str]]", match: str) -> None:
    first = outcomes([["x", "y"], ["x", "z"]], [[1, 1], [1, 1]])
    with pytest.raises(DataError, match=match):
        comparison.compare(("a", "b"), first, outcomes(ids, [[0, 0]] * len(ids)), dict.fromkeys("xyzq", "r"), 0.25)


def test_protocols_of_folds_are_merged_and_none_is_lost() -> None:
    merged = merge_protocols({"select": "last", "epoch": 3}, {"select": "test", "epoch": 3})
    assert merged == {"select": ["last", "test"], "epoch": 3}
    again = merge_protocols(merged, {"select": "last", "epoch": 4, "kernel and C": "given"})
    assert again == {"select": ["last", "test"], "epoch": [3, 4], "kernel and C": "given"}
    nested = merge_protocols({"of": {"a": {"select": "last"}}}, {"of": {"a": {"select": "valid"}}})
    assert nested == {"of": {"a": {"select": ["last", "valid"]}}}


@pytest.mark.parametrize(
    ("given", "words", "on_test"),
    [
        ({}, "not known", False),
        ({"select": "last", "monitored": ["test", "train"]}, "last", False),  # a curve chooses nothing
        ({"select": ["last", "test"]}, "last test (on test data!)", True),
        ({"of": {"a": {"select": "last"}, "b": {}}, "fusion": "fixed rule"}, "last not known", False),
    ],
)
def test_protocols_in_words(given: dict, words: str, on_test: bool) -> None:
    assert protocol.chosen_epoch(given) == words
    assert protocol.selected_on_test(given) == on_test
