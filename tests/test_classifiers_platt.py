"""Platt's sigmoid against a general minimiser, libsvm's rules, and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import expit

from asctool.classifiers import platt
from asctool.errors import DataError


def drawn(a: float, b: float, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and labels drawn with probability 1 / (1 + exp(a score + b))."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=n) * 2
    return scores, random.random(n) < expit(-(a * scores + b))


def minimum(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Platt's objective (Lin et al. 2007, problem 2) by Nelder and Mead."""
    n_positive, n_negative = positive.sum(), (~positive).sum()
    goal = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))

    def loss(point: np.ndarray) -> float:
        exponent = point[0] * scores + point[1]
        return float((np.logaddexp(0, exponent) - (1 - goal) * exponent).sum())

    return minimize(loss, [0, 0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}).x


@pytest.mark.parametrize("a, b, n", [(-1.5, 0.3, 2000), (-0.2, 2.0, 300), (0.5, 0.0, 300)])
def test_minimises_platts_objective(a: float, b: float, n: int) -> None:
    scores, positive = drawn(a, b, n)
    found = platt.fit_one(scores, positive)
    np.testing.assert_allclose(found, minimum(scores, positive), atol=1e-5)


def test_finds_the_sigmoid_that_drew_the_labels() -> None:
    found = platt.fit_one(*drawn(-1.5, 0.3, 50_000))
    np.testing.assert_allclose(found, (-1.5, 0.3), atol=0.06)  # three standard errors


def test_separable_scores_stay_finite_by_smoothed_targets() -> None:
    scores, positive = np.array([-2.0, -1, 1, 2]), np.array([False, False, True, True])
    a, b = platt.fit_one(scores, positive)
    np.testing.assert_allclose((a, b), minimum(scores, positive), atol=1e-5)
    assert a < 0 and abs(b) < 1e-6


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_units_of_the_scores_do_not_matter(unit: float) -> None:
    scores, positive = drawn(-1.0, 0.5, 400)
    a, b = platt.fit_one(scores * unit, positive)
    np.testing.assert_allclose((a * unit, b), platt.fit_one(scores, positive), rtol=1e-6)


def test_class_without_rows_gets_the_smoothed_prior() -> None:
    random = np.random.default_rng(0)
    scores, targets = random.normal(size=(8, 3)), np.array([0, 1] * 4)
    a, b = platt.fit(scores, targets, 3)
    assert a[2] == 0
    assert expit(-b[2]) == pytest.approx(1 / 10)  # 1 / (8 negatives + 2)


def test_posteriors_by_hand() -> None:
    scores, a, b = np.array([[0.0, 1.0]]), np.array([-1.0, -1.0]), np.array([0.0, 0.0])
    single = np.array([0.5, 1 / (1 + np.exp(-1))])
    np.testing.assert_allclose(platt.posteriors(scores, a, b)[0], single / single.sum())


@given(arrays(np.float64, (4, 3), elements=st.floats(-1e300, 1e300)))
@settings(max_examples=50, deadline=None)
def test_posteriors_are_finite_and_sum_to_one_for_any_score(scores: np.ndarray) -> None:
    values = platt.posteriors(scores, np.array([-2.0, -1e10, 0.0]), np.array([0.0, 1.0, 3.0]))
    assert np.isfinite(values).all() and (values >= 0).all()
    np.testing.assert_allclose(values.sum(1), 1)


def test_far_below_every_threshold_the_nearest_class_still_wins() -> None:
    values = platt.posteriors(np.array([[-900.0, -1000.0]]), np.array([-1.0, -1.0]), np.zeros(2))
    np.testing.assert_allclose(values, [[1, 0]], atol=1e-12)  # plain sigmoids would be 0 / 0


def test_scores_that_are_not_finite() -> None:
    with pytest.raises(DataError, match="not finite"):
        platt.fit(np.array([[np.nan, 0.0]]), np.array([0]), 2)
