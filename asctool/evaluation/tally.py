"""Results as frozen values that add, so that nobody averages percentages.

Tallies of folds add to the accuracy over all clips; ``summary`` has the mean over folds.
"""

from dataclasses import dataclass

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import _validate


@dataclass(frozen=True)
class Tally:
    """How many of how many are right."""

    correct: int = 0
    total: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total:
            raise DataError(f"{self.correct} right of {self.total}")

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.correct + other.correct, self.total + other.total)

    @property
    def accuracy(self) -> float:
        """Share that is right, 0 to 1; nan of nothing."""
        return self.correct / self.total if self.total else float("nan")


def tally(targets: np.ndarray, predicted: np.ndarray) -> Tally:
    """Of class indices (row,)."""
    _check_same(targets, predicted)
    return Tally(int((targets == predicted).sum()), len(targets))


def tally_by(groups: np.ndarray, targets: np.ndarray, predicted: np.ndarray) -> dict[str, Tally]:
    """A tally for each value of ``groups`` (row,): by city, by device, by fold."""
    _check_same(targets, predicted)
    _check_same(targets, groups)
    names, index = np.unique(groups, return_inverse=True)
    total = np.bincount(index, minlength=len(names))
    correct = np.bincount(index[targets == predicted], minlength=len(names))
    return {str(name): Tally(int(right), int(all_)) for name, right, all_ in zip(names, correct, total)}


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts (true class, predicted class).

    A ratio whose denominator is zero (a class without clips, or never predicted) is 0, and macro means go over all
    classes, as scikit-learn's with ``labels`` of all classes and ``zero_division=0``.
    """

    counts: np.ndarray

    def __post_init__(self) -> None:
        counts = np.array(self.counts)
        if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.dtype.kind not in "iu" or counts.min() < 0:
            raise DataError(
                f"a confusion matrix of shape {counts.shape}, type {counts.dtype}: expected (class, class) counts"
            )
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)

    def __add__(self, other: "Confusion") -> "Confusion":
        if self.counts.shape != other.counts.shape:
            raise DataError(f"confusion matrices of {len(self.counts)} and {len(other.counts)} classes do not add")
        return Confusion(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Confusion) and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash(self.counts.tobytes())

    @property
    def tally(self) -> Tally:
        """The diagonal of the whole."""
        return Tally(int(self.counts.trace()), int(self.counts.sum()))

    @property
    def accuracy(self) -> float:
        """Share of all clips that is right."""
        return self.tally.accuracy

    @property
    def recall(self) -> np.ndarray:
        """Share of each true class that is found: (class,)."""
        return _ratio(self.counts.diagonal(), self.counts.sum(1))

    @property
    def precision(self) -> np.ndarray:
        """Share of each predicted class that is right: (class,)."""
        return _ratio(self.counts.diagonal(), self.counts.sum(0))

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall: (class,)."""
        return _ratio(2 * self.counts.diagonal(), self.counts.sum(0) + self.counts.sum(1))

    @property
    def macro_recall(self) -> float:
        """Mean of the classes' recall (balanced accuracy where every class has clips)."""
        return float(self.recall.mean())

    @property
    def macro_precision(self) -> float:
        """Mean of the classes' precision."""
        return float(self.precision.mean())

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1 (not the F1 of mean precision and mean recall)."""
        return float(self.f1.mean())


def confusion(targets: np.ndarray, predicted: np.ndarray, n_classes: int) -> Confusion:
    """Of class indices (row,)."""
    _validate.targets(targets, len(targets), n_classes)
    _validate.targets(predicted, len(targets), n_classes)
    flat = np.bincount(targets.astype(np.int64) * n_classes + predicted, minlength=n_classes**2)
    return Confusion(flat.reshape(n_classes, n_classes))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def _check_same(targets: np.ndarray, other: np.ndarray) -> None:
    if targets.ndim != 1 or targets.shape != other.shape:
        raise DataError(f"shapes {targets.shape} and {other.shape}: expected one value of each a row")
