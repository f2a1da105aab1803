"""Platt's sigmoid: scores of one-against-the-rest machines (row, class) to posteriors (row, class).

P(class | score) = 1 / (1 + exp(a score + b)), fitted as Lin, Lin & Weng 2007 do ("A note on Platt's probabilistic
outputs for support vector machines", appendix): Newton's method with backtracking on targets that Platt smooths.
"""

import numpy as np

from asctool.errors import DataError

MAX_STEPS = 100
LARGEST = 1e300
RIDGE = 1e-12  # keeps the Hessian invertible
SMALLEST_GRADIENT = 1e-5  # both, and the next, of Lin et al.'s listing
SMALLEST_STEP = 1e-10


def fit(scores: np.ndarray, targets: np.ndarray, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Slopes a (class,) and intercepts b (class,), a class at a time.

    A class that no row (or every row) belongs to gets a = 0 and the prior of its smoothed targets.
    """
    if scores.ndim != 2 or scores.shape[1] != n_classes or targets.shape != (len(scores),):
        raise DataError(f"scores of shape {scores.shape} and targets of shape {targets.shape} for {n_classes} classes")
    if not np.isfinite(scores).all():
        raise DataError("scores to calibrate are not finite")
    fitted = [fit_one(scores[:, index], targets == index) for index in range(n_classes)]
    a, b = np.array(fitted, np.float64).T
    return a, b


def fit_one(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """a and b of one class from scores (row,) and which rows belong to it."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    prior = float(np.log((n_negative + 1) / (n_positive + 1)))
    if not n_positive or not n_negative:
        return 0.0, prior
    goal = np.where(positive, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    # Newton's steps overflow where scores are huge: fit in units of their deviation
    centre, unit = float(scores.mean()), float(scores.std()) or 1.0
    a, b = _newton((scores - centre) / unit, goal, prior)
    return a / unit, b - a * centre / unit


def posteriors(scores: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sigmoids of the scores, normalised to sum to one in each row (in the log domain: no row comes out 0 / 0)."""
    return normalised(log_sigmoids(scores, a, b))


def log_sigmoids(scores: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """log P(class | score), each class for itself: (row, class)."""
    with np.errstate(over="ignore"):
        exponent = np.asarray(scores, np.float64) * a + b
    return -np.logaddexp(0, np.clip(exponent, -LARGEST, LARGEST))  # finite, so that a row can be normalised


def normalised(logs: np.ndarray) -> np.ndarray:
    """Log values (row, class) as posteriors; -inf is a posterior of 0."""
    values = np.exp(logs - logs.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


def _newton(scores: np.ndarray, goal: np.ndarray, prior: float) -> tuple[float, float]:
    point = np.array([0.0, prior])
    design = np.stack([scores, np.ones_like(scores)])  # (2, row)
    value = _loss(point @ design, goal)
    for _ in range(MAX_STEPS):
        probability = np.exp(-np.logaddexp(0, point @ design))
        gradient = design @ (goal - probability)
        if np.abs(gradient).max() < SMALLEST_GRADIENT:
            break
        hessian = (design * (probability * (1 - probability))) @ design.T + RIDGE * np.eye(2)
        step = -np.linalg.solve(hessian, gradient)
        share = 1.0
        while share >= SMALLEST_STEP:
            new = _loss((point + share * step) @ design, goal)
            if new < value + 1e-4 * share * (gradient @ step):
                break
            share /= 2
        else:
            break
        point, value = point + share * step, new
    return float(point[0]), float(point[1])


def _loss(exponent: np.ndarray, goal: np.ndarray) -> float:
    """Cross entropy of goals with 1 / (1 + exp(exponent))."""
    return float((np.logaddexp(0, exponent) - (1 - goal) * exponent).sum())
