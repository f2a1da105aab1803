"""Linear support vector machine, one against the rest, with the objective of scikit-learn's LinearSVC.

Features are (row, dim), scores (row, class).
"""

from dataclasses import dataclass

import numpy as np

from asctool.classifiers import _inputs, _squared_hinge
from asctool.errors import UsageError


@dataclass(frozen=True)
class Config:
    """``c`` weighs the squared hinge of the rows against the squared weights."""

    c: float = 0.1  # Phan 2019

    def __post_init__(self) -> None:
        if not self.c > 0:
            raise UsageError(f"c={self.c}: above 0")


def fit(features: np.ndarray, targets: np.ndarray, n_classes: int, config: Config, seed: int) -> dict[str, np.ndarray]:
    """Weights (dim, class), intercepts (class,), and which classes were seen; nothing is drawn from ``seed``.

    float32 features are solved in single precision, which is twice as fast and leaves 1e-7 of the objective.
    """
    _inputs.check(features, targets, n_classes)
    exact = features if features.dtype == np.float32 else features.astype(np.float64)
    solution = _squared_hinge.solve(exact, targets, n_classes, config.c).astype(np.float64)
    return {"weights": solution[:-1], "intercepts": solution[-1], "seen": _inputs.present(targets, n_classes)}


def decision(arrays: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Signed distances (row, class); a class never seen in training lies one below the lowest other."""
    _inputs.check_rows(features, len(arrays["weights"]))
    return _inputs.hide_absent(features @ arrays["weights"] + arrays["intercepts"], arrays["seen"])
