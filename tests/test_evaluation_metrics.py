"""Figures of posteriors and of tags against scikit-learn, and by hand where it has no such figure."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from asctool.errors import DataError, UsageError
from asctool.evaluation import metrics
from asctool.evaluation.tally import Tally, tally


def drawn(n: int = 200, n_classes: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(n_classes, 0.5), size=n), random.integers(n_classes, size=n)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_top_k_is_that_of_scikit_learn(k: int) -> None:
    posteriors, targets = drawn()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it finds k = 6 of 6 classes pointless
        expected = sk.top_k_accuracy_score(targets, posteriors, k=k, labels=range(6))
    assert metrics.top_k(posteriors, targets, k).accuracy == pytest.approx(expected)


def test_top_1_is_accuracy_even_where_all_tie() -> None:
    posteriors, targets = np.full((4, 4), 0.25), np.arange(4)
    assert metrics.top_k(posteriors, targets, 1) == tally(targets, posteriors.argmax(1)) == Tally(1, 4)
    assert metrics.top_k(posteriors, targets, 2) == Tally(2, 4)


def test_log_loss_is_that_of_scikit_learn() -> None:
    posteriors, targets = drawn()
    assert metrics.log_loss(posteriors, targets) == pytest.approx(sk.log_loss(targets, posteriors, labels=range(6)))


def test_log_loss_of_certain_error_is_the_floor() -> None:
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(12 * np.log(10))


def test_brier_by_definition_and_its_limits() -> None:
    posteriors, targets = drawn()
    assert metrics.brier(posteriors, targets) == pytest.approx(((posteriors - np.eye(6)[targets]) ** 2).sum(1).mean())
    sure = np.eye(2)[[0, 1]]
    assert metrics.brier(sure, np.array([0, 1])) == 0
    assert metrics.brier(sure, np.array([1, 0])) == 2


def test_brier_of_two_classes_is_twice_that_of_scikit_learn() -> None:
    posteriors, targets = drawn(n_classes=2)
    assert metrics.brier(posteriors, targets) == pytest.approx(2 * sk.brier_score_loss(targets, posteriors[:, 1]))


def test_calibration_error_by_hand() -> None:
    """Two bins: 0.6, 0.7, 0.8 with two right, |2/3 - 0.7|; and 0.45 (of three classes), wrong."""
    posteriors = np.array([[0.6, 0.4, 0], [0.7, 0.3, 0], [0.8, 0.2, 0], [0.45, 0.3, 0.25]])
    figures = metrics.reliability(posteriors, np.array([0, 0, 1, 2]), n_bins=2)
    assert figures.rows == (1, 3)
    np.testing.assert_allclose(figures.confidence, [0.45, 0.7])
    np.testing.assert_allclose(figures.accuracy, [0, 2 / 3])
    assert figures.expected_calibration_error == pytest.approx(0.25 * 0.45 + 0.75 * (0.7 - 2 / 3))


def test_calibration_error_of_posteriors_that_keep_their_word_is_near_zero() -> None:
    random = np.random.default_rng(0)
    posteriors = random.dirichlet(np.ones(4), size=40_000)
    targets = (posteriors.cumsum(1) < random.random((40_000, 1))).sum(1)
    assert metrics.reliability(posteriors, targets).expected_calibration_error < 0.01


def test_empty_bins_have_no_accuracy_and_weigh_nothing() -> None:
    figures = metrics.reliability(np.array([[1.0, 0.0]]), np.array([0]), n_bins=4)
    assert np.isnan(figures.accuracy[:3]).all() and figures.accuracy[3] == 1
    assert figures.expected_calibration_error == 0


def test_figures_of_folds_add() -> None:
    posteriors, targets = drawn()
    truth = np.random.default_rng(1).random(posteriors.shape) < 0.3
    parts = (slice(0, 70), slice(70, None))
    first, second = (metrics.reliability(posteriors[part], targets[part]) for part in parts)
    whole = metrics.reliability(posteriors, targets)
    assert (first + second).rows == whole.rows
    assert (first + second).expected_calibration_error == pytest.approx(whole.expected_calibration_error)
    first, second = (metrics.lwlrap(truth[part], posteriors[part]) for part in parts)
    assert (first + second).overall == pytest.approx(metrics.lwlrap(truth, posteriors).overall)


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_lwlrap_is_weighted_label_ranking_precision(seed: int, ties: bool) -> None:
    """By the definition of DCASE 2019: scikit-learn's LRAP, each clip weighted by its number of labels."""
    random = np.random.default_rng(seed)
    truth, scores = random.random((30, 7)) < 0.25, random.random((30, 7))
    truth[0, 0] = True
    scores = np.round(scores, 1) if ties else scores
    some = truth.any(1)
    expected = sk.label_ranking_average_precision_score(truth[some], scores[some], sample_weight=truth[some].sum(1))
    assert metrics.lwlrap(truth, scores).overall == pytest.approx(expected)


def test_lwlrap_by_hand() -> None:
    """Clip 1: labels at ranks 1 and 3: 1 and 2/3. Clip 2: one label at rank 2: 1/2. Clip 3 has none."""
    truth = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 0]])
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.4, 0.1], [0.3, 0.2, 0.1]])
    figures = metrics.lwlrap(truth, scores)
    np.testing.assert_allclose(figures.per_class, [1, 1 / 2, 2 / 3])
    assert figures.overall == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)


def test_lwlrap_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    truth, scores = random.random((50, 9)) < 0.3, random.random((50, 9))
    whole = metrics.lwlrap(truth, scores)
    monkeypatch.setattr(metrics, "BLOCK_PAIRS", 20)
    assert metrics.lwlrap(truth, scores) == whole


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_average_precision_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    truth, scores = random.random((40, 4)) < 0.3, random.random((40, 4))
    truth[0] = True
    scores = np.round(scores, 1) if ties else scores
    expected = sk.average_precision_score(truth, scores, average=None)
    np.testing.assert_allclose(metrics.average_precision(truth, scores), expected)
    assert metrics.mean_average_precision(truth, scores) == pytest.approx(np.mean(expected))


def test_class_without_positives_is_left_out_of_the_mean() -> None:
    truth, scores = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.1], [0.1, 0.2]])
    assert np.isnan(metrics.average_precision(truth, scores)[1])
    assert metrics.mean_average_precision(truth, scores) == 1
    assert np.isnan(metrics.mean_average_precision(0 * truth, scores))


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_order_of_rows_changes_nothing(seed: int) -> None:
    posteriors, targets = drawn(seed=seed)
    order = np.random.default_rng(seed).permutation(len(targets))
    for figure in (metrics.log_loss, metrics.brier):
        assert figure(posteriors[order], targets[order]) == pytest.approx(figure(posteriors, targets))
    assert metrics.top_k(posteriors[order], targets[order], 2) == metrics.top_k(posteriors, targets, 2)
    assert metrics.reliability(posteriors[order], targets[order]).rows == metrics.reliability(posteriors, targets).rows


@pytest.mark.parametrize(
    "posteriors, targets, message",
    [
        (np.array([[3.0, -1.0]]), np.array([0]), "did you supply logits"),
        (np.log(np.array([[0.3, 0.7]])), np.array([0]), "did you supply logits or log posteriors"),
        (np.array([[0.9, 0.8]]), np.array([0]), "row 0 sum to 1.7.*did you supply tags"),
        (np.array([[0.5, 0.5], [np.nan, 1]]), np.array([0, 0]), "not finite, first in row 1"),
        (np.array([0.5, 0.5]), np.array([0]), r"expected \(row, class\)"),
        (np.array([[0.5, 0.5]]), np.array([[0, 1]]), "did you supply one-hot targets"),
        (np.array([[0.5, 0.5]]), np.array([2]), "do they count from one"),
    ],
)
def test_likely_mistakes_are_named(posteriors: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.log_loss(posteriors, targets)


@pytest.mark.parametrize(
    "truth, scores, message",
    [
        (np.array([[1, 0]]), np.array([[0.1, 0.2, 0.3]]), "expected the same"),
        (np.array([[0.1, 0.9]]), np.array([[1.0, 0.0]]), "did you swap truth and scores"),
        (np.array([[1, 0]]), np.array([[np.inf, 0.0]]), "not finite"),
    ],
)
def test_likely_mistakes_with_tags_are_named(truth: np.ndarray, scores: np.ndarray, message: str) -> None:
    for figure in (metrics.lwlrap, metrics.average_precision):
        with pytest.raises(DataError, match=message):
            figure(truth, scores)


def test_impossible_options() -> None:
    posteriors, targets = drawn()
    with pytest.raises(UsageError, match="top 7 of 6 classes"):
        metrics.top_k(posteriors, targets, 7)
    with pytest.raises(UsageError, match="one at least"):
        metrics.reliability(posteriors, targets, 0)
    with pytest.raises(DataError, match="does not add"):
        metrics.reliability(posteriors, targets, 5) + metrics.reliability(posteriors, targets, 6)
