"""What every fit of a classifier checks first."""

import numpy as np

from asctool.errors import DataError


def check(features: np.ndarray, targets: np.ndarray, n_classes: int) -> None:
    """DataError for features (row, dim) or targets (row,) that no classifier can be fitted on."""
    if features.ndim != 2 or not features.size:
        raise DataError(f"features of shape {features.shape}: expected (row, dim), at least one of each")
    if targets.shape != (len(features),) or targets.dtype.kind not in "iu":
        raise DataError(
            f"targets of shape {targets.shape}, type {targets.dtype}, for {len(features)} rows: expected one class "
            "index a row; did you supply one-hot targets?"
        )
    if targets.min() < 0 or targets.max() >= n_classes:
        raise DataError(
            f"targets from {targets.min()} to {targets.max()} for {n_classes} classes: expected 0 to {n_classes - 1}"
        )
    if (targets == targets[0]).all():
        raise DataError(f"every row is of class {targets[0]}: a classifier needs rows of two classes at least")
    _check_finite(features)


def check_rows(features: np.ndarray, dim: int) -> None:
    """DataError for features that are not what a classifier was fitted on."""
    if features.ndim != 2 or features.shape[1] != dim:
        raise DataError(f"features of shape {features.shape}: the classifier was fitted on (row, {dim})")
    _check_finite(features)


def present(targets: np.ndarray, n_classes: int) -> np.ndarray:
    """Which classes have a row: (class,) bool."""
    return np.bincount(targets, minlength=n_classes) > 0


def hide_absent(scores: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Scores (row, class) in which a class without a training row lies one below the lowest other of its row."""
    if seen.all():
        return scores
    return np.where(seen, scores, scores[:, seen].min(1, keepdims=True) - 1)


def _check_finite(features: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(features).all(1))
    if len(bad):
        raise DataError(f"features of {len(bad)} rows are not finite, row {bad[0]} the first")
