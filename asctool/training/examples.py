"""Rows to train on or to look at, in memory, and what centres and scales them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asctool.errors import DataError

BLOCK_ROWS = 256


@dataclass(frozen=True)
class Examples:
    """Rows of features with their targets."""

    features: np.ndarray  # (row, channel, band, frame), in stored precision
    targets: np.ndarray  # (row, class) float32, each row a distribution
    clips: np.ndarray  # (row,) index of the clip a row was cut from

    def __len__(self) -> int:
        return len(self.features)

    @property
    def classes(self) -> np.ndarray:
        """The likeliest class of each row."""
        return self.targets.argmax(1)


@dataclass(frozen=True)
class Normalization:
    """Mean and deviation of each channel over the training subset."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def normalization_of(features: np.ndarray) -> Normalization:
    """Statistics of (row, channel, ...), accumulated in float64; a constant channel gets deviation 1."""
    if not len(features):
        raise DataError("the training subset is empty")
    axes = (0, *range(2, features.ndim))
    count = features[:, 0].size
    total = np.zeros(features.shape[1])
    for block in _blocks(features):
        total += block.sum(axes)
    mean = total / count
    square = np.zeros(features.shape[1])
    centre = mean.reshape(1, -1, *[1] * (features.ndim - 2))
    for block in _blocks(features):
        square += ((block - centre) ** 2).sum(axes)
    deviation = np.sqrt(square / count)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise DataError("features hold values that are not finite; make them again")
    deviation[deviation < 1e-8] = 1
    return Normalization(tuple(map(float, mean)), tuple(map(float, deviation)))


def _blocks(features: np.ndarray) -> Iterator[np.ndarray]:
    for first in range(0, len(features), BLOCK_ROWS):
        yield features[first : first + BLOCK_ROWS].astype(np.float64)
