"""Everything that is said of one system on the rows of one fold, as a frozen value that adds over folds."""

from dataclasses import dataclass

import numpy as np

from asctool.evaluation import _validate, metrics
from asctool.evaluation.metrics import Ranks, Reliability
from asctool.evaluation.tally import Confusion, confusion


@dataclass(frozen=True)
class Judgement:
    """Counts and sums over rows."""

    confusion: Confusion
    reliability: Reliability
    log_loss_sum: float
    brier_sum: float
    ranks: Ranks

    def __add__(self, other: "Judgement") -> "Judgement":
        return Judgement(
            self.confusion + other.confusion,
            self.reliability + other.reliability,
            self.log_loss_sum + other.log_loss_sum,
            self.brier_sum + other.brier_sum,
            self.ranks + other.ranks,
        )

    @property
    def rows(self) -> int:
        """How many rows were judged."""
        return self.confusion.tally.total

    def figures(self, top: int = 3) -> dict[str, float]:
        """Every single number, by name; ``top`` k is left out where there are no more classes than that."""
        of_top = {f"top_{top}_accuracy": self.ranks.top(top).accuracy} if top < len(self.ranks.rows) else {}
        return {
            "accuracy": self.confusion.accuracy,
            "macro_f1": self.confusion.macro_f1,
            "macro_precision": self.confusion.macro_precision,
            "macro_recall": self.confusion.macro_recall,
            "log_loss": self.log_loss_sum / self.rows,
            "brier": self.brier_sum / self.rows,
            "expected_calibration_error": self.reliability.expected_calibration_error,
            **of_top,
        }


def judge(posteriors: np.ndarray, targets: np.ndarray) -> Judgement:
    """Posteriors (row, class) against the true class of each row (row,)."""
    n_rows, n_classes = posteriors.shape
    return Judgement(
        confusion(targets, posteriors.argmax(1), n_classes),
        metrics.reliability(posteriors, targets),
        metrics.log_loss(posteriors, targets) * n_rows,
        metrics.brier(posteriors, targets) * n_rows,
        Ranks(metrics.rank_counts(posteriors, targets)),
    )


@dataclass(frozen=True, eq=False)
class TagJudgement:
    """Scores of tags (row, class) beside the truth; adding folds puts their rows together, as mAP needs all at once."""

    truth: np.ndarray
    scores: np.ndarray

    def __add__(self, other: "TagJudgement") -> "TagJudgement":
        return TagJudgement(np.concatenate([self.truth, other.truth]), np.concatenate([self.scores, other.scores]))

    @property
    def rows(self) -> int:
        """How many rows were judged."""
        return len(self.truth)

    def figures(self, top: int = 3) -> dict[str, float]:
        """Every single number, by name; ``top`` means nothing here, where rows have several classes."""
        return {
            "lwlrap": metrics.lwlrap(self.truth, self.scores).overall,
            "mean_average_precision": metrics.mean_average_precision(self.truth, self.scores),
        }

    def per_class(self) -> dict[str, np.ndarray]:
        """lwlrap and average precision of each class (class,), nan without a positive, and its positives."""
        return {
            "lwlrap": metrics.lwlrap(self.truth, self.scores).per_class,
            "average_precision": metrics.average_precision(self.truth, self.scores),
            "rows": self.truth.sum(0),
        }


def judge_tags(scores: np.ndarray, truth: np.ndarray) -> TagJudgement:
    """Scores of tags (row, class) against truth (row, class) of zeros and ones."""
    _validate.tags(truth, scores)
    return TagJudgement(truth, scores)
