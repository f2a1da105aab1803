"""Mixup (Zhang et al. 2018; Zhang 2019, equation 4): any two examples, the share from Beta(alpha, alpha).

Arrays are NumPy's or torch's alike; features (row, ...), targets (row, class).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from asctool.errors import UsageError
from asctool.transforms.between_class import Parameters, apply_targets

__all__ = ["Config", "Parameters", "apply", "apply_targets", "draw"]


@dataclass(frozen=True)
class Config:
    """How strongly examples mix."""

    mix_alpha: float = 0.2  # of the Beta distribution; small: mostly one of the two

    def __post_init__(self) -> None:
        if not self.mix_alpha > 0:
            raise UsageError(f"mix_alpha={self.mix_alpha}: must be above 0")


def draw(generator: np.random.Generator, classes: np.ndarray, config: Config) -> Parameters:
    """A partner for each row, uniform among all rows, and the share of the row itself."""
    n_rows = len(classes)
    ratios = generator.beta(config.mix_alpha, config.mix_alpha, n_rows).astype(np.float32)
    return Parameters(generator.integers(0, n_rows, n_rows), ratios)


def apply(first: Any, second: Any, ratio: Any) -> Any:
    """Equation 4: the weighted mean."""
    return ratio * first + (1 - ratio) * second
