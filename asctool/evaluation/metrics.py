"""Figures of posteriors (row, class) against classes (row,), of tag scores (row, class) against truth (row, class)."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.evaluation import _validate
from asctool.evaluation._logs import floored_log
from asctool.evaluation.tally import Tally

Number = TypeVar("Number", int, float)

BLOCK_PAIRS = 4_000_000  # (positive tag, class) values compared at a time


def top_k(posteriors: np.ndarray, targets: np.ndarray, k: int) -> Tally:
    """Rows whose class is among the k most probable; the lower index wins a tie, as in argmax: top 1 is accuracy."""
    return Ranks(rank_counts(posteriors, targets)).top(k)


@dataclass(frozen=True)
class Ranks:
    """Rows by how many classes are more probable than the true one (class,); values add over folds."""

    rows: tuple[int, ...]

    def __add__(self, other: "Ranks") -> "Ranks":
        if len(self.rows) != len(other.rows):
            raise DataError(f"ranks of {len(self.rows)} and of {len(other.rows)} classes do not add")
        return Ranks(_added(self.rows, other.rows))

    def top(self, k: int) -> Tally:
        """Rows whose class is among the k most probable."""
        if not 1 <= k <= len(self.rows):
            raise UsageError(f"top {k} of {len(self.rows)} classes")
        return Tally(sum(self.rows[:k]), sum(self.rows))


def rank_counts(posteriors: np.ndarray, targets: np.ndarray) -> tuple[int, ...]:
    """How many rows have their class at each rank, 0 the most probable; the lower index wins a tie."""
    of_truth = _of_truth(posteriors, targets)[:, None]
    before = np.arange(posteriors.shape[1]) < targets[:, None]
    ahead = (posteriors > of_truth) | ((posteriors == of_truth) & before)
    return tuple(np.bincount(ahead.sum(1), minlength=posteriors.shape[1]).tolist())


def log_loss(posteriors: np.ndarray, targets: np.ndarray) -> float:
    """Mean of -log P(true class) in nats, P no smaller than 1e-12 (fusion's floor): 27.6 at the worst."""
    return float(-floored_log(_of_truth(posteriors, targets)).mean())


def brier(posteriors: np.ndarray, targets: np.ndarray) -> float:
    """Mean over rows of the squared distance to the one-hot truth: 0 to 2 (Brier 1950; others halve it)."""
    of_truth = _of_truth(posteriors, targets)
    return float((np.square(posteriors, dtype=np.float64).sum(1) - 2 * of_truth + 1).mean())


@dataclass(frozen=True)
class Reliability:
    """How sure the most probable class was, and how often right, in bins of equal width; values add over folds."""

    rows: tuple[int, ...]
    confidence_sums: tuple[float, ...]
    correct: tuple[int, ...]

    def __add__(self, other: "Reliability") -> "Reliability":
        if len(self.rows) != len(other.rows):
            raise DataError(f"reliability in {len(self.rows)} and in {len(other.rows)} bins does not add")
        return Reliability(
            _added(self.rows, other.rows),
            _added(self.confidence_sums, other.confidence_sums),
            _added(self.correct, other.correct),
        )

    @property
    def confidence(self) -> np.ndarray:
        """Mean confidence of each bin, nan where it is empty: x of the reliability diagram."""
        return _mean_where(np.array(self.confidence_sums), np.array(self.rows))

    @property
    def accuracy(self) -> np.ndarray:
        """Share that is right in each bin, nan where it is empty: y of the reliability diagram."""
        return _mean_where(np.array(self.correct), np.array(self.rows))

    @property
    def expected_calibration_error(self) -> float:
        """Mean over rows of |accuracy - confidence| of their bin, 0 to 1 (Naeini et al. 2015, Guo et al. 2017)."""
        gaps = np.abs(np.array(self.correct) - np.array(self.confidence_sums))
        return float(gaps.sum() / sum(self.rows)) if any(self.rows) else float("nan")


def reliability(posteriors: np.ndarray, targets: np.ndarray, n_bins: int = 15) -> Reliability:
    """Rows by the posterior of their most probable class; bin i holds (i / n, (i + 1) / n]."""
    _of_truth(posteriors, targets)
    if n_bins < 1:
        raise UsageError(f"n_bins={n_bins}: one at least")
    confidence = np.minimum(posteriors.max(1).astype(np.float64), 1)
    bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
    right = posteriors.argmax(1) == targets
    return Reliability(
        tuple(np.bincount(bins, minlength=n_bins).tolist()),
        tuple(np.bincount(bins, confidence, n_bins).tolist()),
        tuple(np.bincount(bins[right], minlength=n_bins).tolist()),
    )


@dataclass(frozen=True)
class RankedPrecision:
    """Label-weighted label-ranking average precision (lwlrap, DCASE 2019 task 2), as sums that add over folds."""

    precision_sums: tuple[float, ...]  # over the positive labels of each class
    labels: tuple[int, ...]

    def __add__(self, other: "RankedPrecision") -> "RankedPrecision":
        if len(self.labels) != len(other.labels):
            raise DataError(f"lwlrap of {len(self.labels)} and of {len(other.labels)} classes does not add")
        return RankedPrecision(_added(self.precision_sums, other.precision_sums), _added(self.labels, other.labels))

    @property
    def overall(self) -> float:
        """Mean precision over all positive labels, each weighing the same; nan without any."""
        return sum(self.precision_sums) / sum(self.labels) if any(self.labels) else float("nan")

    @property
    def per_class(self) -> np.ndarray:
        """Mean precision over the positive labels of each class (class,), nan where it has none."""
        return _mean_where(np.array(self.precision_sums), np.array(self.labels))


def lwlrap(truth: np.ndarray, scores: np.ndarray) -> RankedPrecision:
    """For each positive label, the share of positives among the classes scored as high as it or higher."""
    _validate.tags(truth, scores)
    rows, classes = np.nonzero(truth)
    precision = np.empty(len(rows))
    block = max(1, BLOCK_PAIRS // truth.shape[1])
    for first in range(0, len(rows), block):
        part = slice(first, first + block)
        above = scores[rows[part]] >= scores[rows[part], classes[part]][:, None]
        precision[part] = (above & (truth[rows[part]] > 0)).sum(1) / above.sum(1)
    sums = np.bincount(classes, precision, truth.shape[1])
    return RankedPrecision(tuple(sums.tolist()), tuple(np.bincount(classes, minlength=truth.shape[1]).tolist()))


def average_precision(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under each class's precision-recall steps (class,), nan without a positive; their nanmean is the mAP.

    Rows of equal score are one step, as in scikit-learn.
    """
    _validate.tags(truth, scores)
    return np.array([_average_precision(truth[:, index], scores[:, index]) for index in range(truth.shape[1])])


def mean_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean of the classes' average precision, over the classes that have a positive; nan where none has."""
    of_classes = average_precision(truth, scores)
    known = ~np.isnan(of_classes)
    return float(of_classes[known].mean()) if known.any() else float("nan")


def _average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True)
    hits = np.cumsum(positive[order])[last_of_tie]
    rank = np.arange(1, len(scores) + 1)[last_of_tie]
    return float((np.diff(hits, prepend=0) * hits / rank).sum() / hits[-1])


def _of_truth(posteriors: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The posterior of each row's class, after the checks."""
    _validate.posteriors(posteriors)
    _validate.targets(targets, *posteriors.shape)
    return posteriors[np.arange(len(targets)), targets]


def _added(mine: tuple[Number, ...], theirs: tuple[Number, ...]) -> tuple[Number, ...]:
    return tuple(a + b for a, b in zip(mine, theirs))


def _mean_where(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.divide(sums, counts, out=np.full(len(counts), np.nan), where=counts > 0)
