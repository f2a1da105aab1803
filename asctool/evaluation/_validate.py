"""What metrics and fusion rules check first. Posteriors are (row, class) or (system, row, class)."""

import numpy as np

from asctool.errors import DataError

SUM_TOLERANCE = 1e-3  # of a row's sum; float32 keeps 1e-6, float16 a few 1e-4


def posteriors(values: np.ndarray, ndim: int = 2) -> None:
    """DataError unless these are rows of probabilities that sum to one."""
    axes = "(row, class)" if ndim == 2 else "(system, row, class)"
    if values.ndim != ndim or not values.size:
        raise DataError(f"posteriors of shape {values.shape}: expected {axes}, at least one of each")
    sums = values.sum(-1, dtype=np.float64)
    if not np.isfinite(sums).all():
        raise DataError(f"posteriors hold values that are not finite, first in row {_first(~np.isfinite(sums))}")
    if values.min() < 0:
        raise DataError(
            f"posteriors as low as {values.min():.3g}: expected 0 to 1; did you supply logits or log posteriors?"
        )
    off = np.abs(sums - 1) > SUM_TOLERANCE
    if off.any():
        raise DataError(
            f"posteriors of row {_first(off)} sum to {sums[off][0]:.4g}, not to 1; did you supply tags or scores?"
        )


def targets(values: np.ndarray, n_rows: int, n_classes: int) -> None:
    """DataError unless these are class indices, one a row."""
    if values.shape != (n_rows,) or values.dtype.kind not in "iu":
        raise DataError(
            f"targets of shape {values.shape}, type {values.dtype}, for {n_rows} rows: expected one class index a row; "
            "did you supply one-hot targets?"
        )
    if n_rows and (values.min() < 0 or values.max() >= n_classes):
        raise DataError(
            f"targets from {values.min()} to {values.max()} for {n_classes} classes: expected 0 to {n_classes - 1}; "
            "do they count from one?"
        )


def tags(truth: np.ndarray, scores: np.ndarray) -> None:
    """DataError unless truth (row, class) is of zeros and ones, beside finite scores of the same shape."""
    if truth.ndim != 2 or truth.shape != scores.shape:
        raise DataError(f"truth of shape {truth.shape}, scores of shape {scores.shape}: expected the same (row, class)")
    if not ((truth == 0) | (truth == 1)).all():
        raise DataError("truth holds values other than 0 and 1; did you swap truth and scores?")
    if not np.isfinite(scores).all():
        raise DataError("scores hold values that are not finite")


def pairs(first: np.ndarray, second: np.ndarray) -> None:
    """DataError unless both say of the same rows whether each is right."""
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise DataError(
            f"results of shapes {first.shape} and {second.shape}: expected one of each system for the same clips"
        )
    if first.dtype != bool or second.dtype != bool:
        raise DataError(f"results of types {first.dtype} and {second.dtype}: expected bool (predicted == target)")


def _first(bad: np.ndarray) -> str:
    place = np.argwhere(bad)[0]
    return ", ".join(map(str, place))
