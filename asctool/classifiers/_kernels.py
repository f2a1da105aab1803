"""Kernel machines, one against the rest: fitted by scikit-learn's SVC (libsvm), kept and applied as arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np

from asctool.classifiers import _inputs

BLOCK_VALUES = 4_000_000  # kernel values at a time, 32 MB


def default_gamma(features: np.ndarray) -> float:
    """One over dim times variance, scikit-learn's "scale"."""
    variance = float(features.var(dtype=np.float64))
    return 1 / (features.shape[1] * variance) if variance > 0 else 1.0


def fit_one_vs_rest(
    features: np.ndarray, targets: np.ndarray, n_classes: int, gamma: float, **options: Any
) -> dict[str, np.ndarray]:
    """Support vectors of all machines together (vector, dim), their weights (vector, class), intercepts (class,)."""
    from sklearn.svm import SVC

    exact = np.ascontiguousarray(features, np.float64)
    seen = _inputs.present(targets, n_classes)
    weights, intercepts = np.zeros((len(exact), n_classes)), np.zeros(n_classes)
    for index in np.flatnonzero(seen):
        machine = SVC(gamma=gamma, cache_size=500, **options).fit(exact, targets == index)
        weights[machine.support_, index] = machine.dual_coef_[0]
        intercepts[index] = machine.intercept_[0]
    support = weights.any(1)
    return {
        "support": exact[support],
        "weights": weights[support],
        "intercepts": intercepts,
        "gamma": np.array(gamma),
        "seen": seen,
    }


def decide(arrays: dict[str, np.ndarray], features: np.ndarray, kernel: Callable[..., np.ndarray]) -> np.ndarray:
    """Scores (row, class) of ``kernel(rows, support)``, in blocks of rows; a class never seen lies below all others."""
    support = arrays["support"]
    _inputs.check_rows(features, support.shape[1])
    scores = np.empty((len(features), len(arrays["intercepts"])))
    block = max(1, BLOCK_VALUES // len(support))
    for first in range(0, len(features), block):
        rows = features[first : first + block].astype(np.float64)
        scores[first : first + block] = kernel(rows, support) @ arrays["weights"]
    return _inputs.hide_absent(scores + arrays["intercepts"], arrays["seen"])
