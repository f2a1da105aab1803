"""A figure over folds: mean, deviation, interval."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from asctool.errors import DataError, UsageError


@dataclass(frozen=True)
class Summary:
    """Of one value a fold. One fold has no deviation and no interval: nan."""

    mean: float
    deviation: float  # of the sample, n - 1
    low: float  # ends of the interval of the mean
    high: float
    n: int
    level: float


def summarise(values: np.ndarray, level: float = 0.95) -> Summary:
    """Student's t interval of the mean. Folds share training clips, so it comes out too narrow."""
    return _summary(values, level, lambda n: 1 / n)


def summarise_resampled(values: np.ndarray, test_share: float, level: float = 0.95) -> Summary:
    """The corrected resampled t interval (Nadeau & Bengio 2003) for repeated splits whose clips overlap.

    ``test_share`` is test clips over training clips of a split (LITIS: 607 / 2419). The variance of the mean is taken
    as (1 / n + test_share) s^2 in place of s^2 / n: however many splits there are, they are splits of the same clips.
    """
    if not test_share > 0:
        raise UsageError(f"test_share={test_share}: test clips over training clips, above 0")
    return _summary(values, level, lambda n: 1 / n + test_share)


def summarise_alone(values: np.ndarray, level: float = 0.95) -> Summary:
    """Mean and deviation without an interval, where nothing is known that would give one."""
    return replace(summarise(values, level), low=np.nan, high=np.nan)


def _summary(values: np.ndarray, level: float, variance_share: Callable[[int], float]) -> Summary:
    from scipy.stats import t

    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise DataError(f"values of shape {values.shape}: expected one finite value a fold")
    if not 0 < level < 1:
        raise UsageError(f"level={level}: between 0 and 1, as 0.95")
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Summary(mean, np.nan, np.nan, np.nan, n, level)
    deviation = float(values.std(ddof=1))
    half = float(t.ppf((1 + level) / 2, n - 1)) * deviation * variance_share(n) ** 0.5
    return Summary(mean, deviation, mean - half, mean + half, n, level)
