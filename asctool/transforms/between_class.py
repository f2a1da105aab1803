"""Between-class mixing (Tokozume et al. 2018; Phan 2019, equations 10 and 11): two examples of different classes.

Arrays are NumPy's or torch's alike; features (row, ...), targets (row, class).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from asctool.errors import DataError


@dataclass(frozen=True)
class Config:
    """Nothing to set: r is uniform in (0, 1)."""


@dataclass(frozen=True)
class Parameters:
    """The partner of each row (an index) and the share r of the row itself."""

    partners: np.ndarray
    ratios: np.ndarray


def draw(generator: np.random.Generator, classes: np.ndarray, config: Config) -> Parameters:
    """A partner for each row, uniform among the rows of other classes, and r; ``classes`` (row,) are class indices.

    DataError when there is only one class.
    """
    n_rows = len(classes)
    order = np.argsort(classes, kind="stable")
    own, first, count = np.unique(classes[order], return_index=True, return_counts=True)
    if len(own) < 2:
        raise DataError("between-class mixing needs training rows of two classes at least")
    place = np.searchsorted(own, classes)
    # Sorted by class, all rows of other classes follow those of one's own, going round.
    steps = generator.integers(0, n_rows - count[place])
    partners = order[(first[place] + count[place] + steps) % n_rows]
    return Parameters(partners, generator.uniform(0, 1, n_rows).astype(np.float32))


def apply(first: Any, second: Any, ratio: Any) -> Any:
    """Equation 10, the energy of two unrelated signals kept; ``ratio`` is broadcastable. Features must be centred."""
    return (ratio * first + (1 - ratio) * second) / (ratio**2 + (1 - ratio) ** 2) ** 0.5


def apply_targets(first: Any, second: Any, ratio: Any) -> Any:
    """Equation 11."""
    return ratio * first + (1 - ratio) * second
