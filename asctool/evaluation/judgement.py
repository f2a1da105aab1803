"""Everything that is said of one system on the rows of one fold, as a frozen value that adds over folds."""

from dataclasses import dataclass

import numpy as np

from asctool.evaluation import metrics
from asctool.evaluation.metrics import Reliability
from asctool.evaluation.tally import Confusion, confusion


@dataclass(frozen=True)
class Judgement:
    """Counts and sums over rows."""

    confusion: Confusion
    reliability: Reliability
    log_loss_sum: float
    brier_sum: float

    def __add__(self, other: "Judgement") -> "Judgement":
        return Judgement(
            self.confusion + other.confusion,
            self.reliability + other.reliability,
            self.log_loss_sum + other.log_loss_sum,
            self.brier_sum + other.brier_sum,
        )

    @property
    def rows(self) -> int:
        """How many rows were judged."""
        return self.confusion.tally.total

    def figures(self) -> dict[str, float]:
        """Every single number, by name."""
        return {
            "accuracy": self.confusion.accuracy,
            "macro_f1": self.confusion.macro_f1,
            "macro_precision": self.confusion.macro_precision,
            "macro_recall": self.confusion.macro_recall,
            "log_loss": self.log_loss_sum / self.rows,
            "brier": self.brier_sum / self.rows,
            "expected_calibration_error": self.reliability.expected_calibration_error,
        }


def judge(posteriors: np.ndarray, targets: np.ndarray) -> Judgement:
    """Posteriors (row, class) against the true class of each row (row,)."""
    n_rows, n_classes = posteriors.shape
    return Judgement(
        confusion(targets, posteriors.argmax(1), n_classes),
        metrics.reliability(posteriors, targets),
        metrics.log_loss(posteriors, targets) * n_rows,
        metrics.brier(posteriors, targets) * n_rows,
    )
