"""Is one system better than another? Tests on the same clips, and on the same folds.

``first`` and ``second`` say of the same clips (clip,) whether each system is right; differences are first minus second.
"""

from dataclasses import dataclass

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.evaluation import _validate
from asctool.evaluation.summary import Summary, summarise_resampled


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two systems got right, and the exact two-sided p of so uneven a split."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test: under no difference the clips they disagree on split like a fair coin (McNemar 1947)."""
    from scipy.stats import binomtest

    _validate.pairs(first, second)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    return McNemar(only_first, only_second, float(binomtest(only_first, n).pvalue) if n else 1.0)


@dataclass(frozen=True)
class Difference:
    """Accuracy of the first minus that of the second, and the ends of its interval."""

    difference: float
    low: float
    high: float
    level: float


def paired_bootstrap(
    first: np.ndarray,
    second: np.ndarray,
    seed: int,
    groups: np.ndarray | None = None,
    n_resamples: int = 10_000,
    level: float = 0.95,
) -> Difference:
    """Percentile interval of the difference of accuracies over clips drawn with replacement, both systems on the same.

    With ``groups`` (clip,) whole groups are drawn: clips cut from one recording are no independent witnesses.
    """
    _validate.pairs(first, second)
    if not 0 < level < 1 or n_resamples < 1:
        raise UsageError(f"level={level}, n_resamples={n_resamples}: a level between 0 and 1, one resample at least")
    gain = first.astype(np.int64) - second
    sums, clips = gain, np.ones(len(gain), np.int64)
    if groups is not None:
        if groups.shape != first.shape:
            raise DataError(f"{len(groups)} groups for {len(first)} clips")
        index = np.unique(groups, return_inverse=True)[1]
        sums, clips = np.bincount(index, gain).astype(np.int64), np.bincount(index)
    # units that are alike in both numbers are drawn together: three kinds without groups, whatever the number of clips
    kinds, counts = np.unique(np.stack([sums, clips]), axis=1, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), n_resamples)
    differences = (drawn @ kinds[0]) / (drawn @ kinds[1])
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(gain.mean()), float(low), float(high), level)


@dataclass(frozen=True)
class Wilcoxon:
    """Exact two-sided p over n folds that differ, and the smallest p that so few folds can give."""

    p_value: float
    smallest_p: float  # 2 / 2^n: five folds cannot go below 0.0625
    n: int


def wilcoxon(differences: np.ndarray) -> Wilcoxon:
    """Wilcoxon's signed-rank test of the folds' differences (fold,): do they lie evenly around zero?

    Zeros are left out; ties share their mean rank; p comes from all 2^n signs, not from an approximation.
    Folds are taken as independent: for overlapping splits take ``summary.summarise_resampled`` of the differences.
    """
    differences = np.asarray(differences, np.float64)
    if differences.ndim != 1 or not np.isfinite(differences).all():
        raise DataError(f"differences of shape {differences.shape}: expected one finite value a fold")
    moved = differences[differences != 0]
    if not len(moved):
        return Wilcoxon(1.0, 1.0, 0)
    doubled = _doubled_ranks(np.abs(moved))
    positive = int(doubled[moved > 0].sum())
    ways = np.ones(1)  # share of the signs that give each sum of positive doubled ranks
    for rank in doubled:
        ways = (np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))) / 2
    tail = ways[: min(positive, int(doubled.sum()) - positive) + 1].sum()
    return Wilcoxon(float(min(1, 2 * tail)), 2 / 2 ** len(moved), len(moved))


def _doubled_ranks(sizes: np.ndarray) -> np.ndarray:
    """Twice the mean ranks, so that ties stay whole numbers. Differences of percentages tie but for rounding."""
    sizes = np.round(sizes, 12)
    return (sizes[:, None] > sizes).sum(1) * 2 + (sizes[:, None] == sizes).sum(1) + 1


@dataclass(frozen=True)
class ResampledT:
    """The mean difference over folds with its corrected resampled interval, and the two-sided p of that test."""

    summary: Summary
    p_value: float


def resampled_t(differences: np.ndarray, test_share: float) -> ResampledT:
    """The corrected resampled t-test (Nadeau & Bengio 2003) of the folds' differences (fold,), two folds at least.

    ``test_share``: test clips over training clips of a fold, see ``summary.summarise_resampled``.
    """
    from scipy.stats import t

    found = summarise_resampled(differences, test_share)
    if found.n < 2:
        raise DataError("one fold has no deviation: the corrected resampled test needs two at least")
    error = found.deviation * (1 / found.n + test_share) ** 0.5
    if error == 0:  # the same difference in every fold
        return ResampledT(found, 1.0 if found.mean == 0 else 0.0)
    return ResampledT(found, float(2 * t.sf(abs(found.mean) / error, found.n - 1)))
