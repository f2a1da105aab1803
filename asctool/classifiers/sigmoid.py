"""Support vector machine with the kernel tanh(gamma x.y + offset), one against the rest.

Features are (row, dim), scores (row, class).
"""

from dataclasses import dataclass

import numpy as np

from asctool.classifiers import _inputs, _kernels
from asctool.errors import UsageError


@dataclass(frozen=True)
class Config:
    """``c`` weighs the hinge of the rows; without ``gamma`` it is 1 / (dim x variance of the features)."""

    c: float = 1.0
    gamma: float | None = None
    offset: float = 0.0  # added inside the tanh, scikit-learn's coef0

    def __post_init__(self) -> None:
        if not self.c > 0 or (self.gamma is not None and not self.gamma > 0):
            raise UsageError(f"c={self.c}, gamma={self.gamma}: above 0")


def fit(features: np.ndarray, targets: np.ndarray, n_classes: int, config: Config, seed: int) -> dict[str, np.ndarray]:
    """The machines of all classes as arrays; nothing is drawn from ``seed``."""
    _inputs.check(features, targets, n_classes)
    gamma = config.gamma or _kernels.default_gamma(features)
    arrays = _kernels.fit_one_vs_rest(
        features, targets, n_classes, gamma, kernel="sigmoid", C=config.c, coef0=config.offset
    )
    return arrays | {"offset": np.array(config.offset)}


def decision(arrays: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Scores (row, class); a class never seen in training lies one below the lowest other."""

    def kernel(rows: np.ndarray, support: np.ndarray) -> np.ndarray:
        return np.tanh(arrays["gamma"] * (rows @ support.T) + arrays["offset"])

    return _kernels.decide(arrays, features, kernel)
