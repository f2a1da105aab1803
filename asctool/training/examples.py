"""Rows to train on or to look at, in memory, and what centres and scales them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asctool.errors import DataError
from asctool.storage.streaming import StreamedRows

BLOCK_ROWS = 256
BLOCK_VALUES = 1 << 23  # of a block of rows, at most: 64 MiB in float64


@dataclass(frozen=True)
class Examples:
    """Rows of features with their targets, and what stands beside them."""

    features: np.ndarray | StreamedRows  # (row, channel, band, frame) or (row, channel, sample), as stored
    targets: np.ndarray  # (row, class) float32, each row a distribution; with loss=bce each value by itself
    clips: np.ndarray  # (row,) index of the clip a row was cut from
    beside: np.ndarray | None = None  # (row, label) float32: tags; (row,) int64: the head that judges a row

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


def normalization_of(features: np.ndarray | StreamedRows) -> Normalization:
    """Statistics of (row, channel, ...), accumulated in float64; a constant channel gets deviation 1."""
    if not len(features):
        raise DataError("the training subset is empty")
    axes = (0, *range(2, features.ndim))
    count = len(features) * int(np.prod(features.shape[2:]))
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


def block_rows(features: np.ndarray | StreamedRows) -> int:
    """Rows that are looked at together: fewer where a row is a long waveform."""
    return max(1, min(BLOCK_ROWS, BLOCK_VALUES // max(1, int(np.prod(features.shape[1:])))))


def _blocks(features: np.ndarray | StreamedRows) -> Iterator[np.ndarray]:
    step = block_rows(features)
    for first in range(0, len(features), step):
        yield features[first : first + step].astype(np.float64)
