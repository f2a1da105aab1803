"""Figures over folds and comparisons of two systems, against scipy, simulation and tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asctool.errors import DataError, UsageError
from asctool.evaluation import significance, summary

FOLDS = np.array([85.0, 88.8, 83.8, 91.2, 87.5])


def test_interval_is_students() -> None:
    ours = summary.summarise(FOLDS)
    low, high = stats.t.interval(0.95, 4, FOLDS.mean(), stats.sem(FOLDS))
    assert (ours.mean, ours.deviation) == pytest.approx((87.26, FOLDS.std(ddof=1)))
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_one_fold_has_no_deviation() -> None:
    ours = summary.summarise(np.array([0.5]))
    assert ours.mean == 0.5 and np.isnan([ours.deviation, ours.low, ours.high]).all()


def test_resampled_interval_by_hand() -> None:
    """LITIS: 20 splits, 607 test clips on 2419; t(0.975, 19) = 2.093."""
    values = np.arange(20) / 100
    ours = summary.summarise_resampled(values, 607 / 2419)
    half = 2.093 * np.sqrt((1 / 20 + 607 / 2419) * values.var(ddof=1))
    assert ours.high - ours.mean == pytest.approx(half, rel=1e-4)


def test_more_splits_of_the_same_clips_narrow_the_resampled_interval_only_so_far() -> None:
    few, many = (summary.summarise_resampled(np.resize([0.8, 0.9], n), 0.25) for n in (20, 20_000))
    assert 0.5 * (many.high - many.low) > stats.norm.ppf(0.975) * many.deviation * 0.25**0.5 * 0.999
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: summary.summarise(np.array([])), DataError, "one finite value a fold"),
        (lambda: summary.summarise(np.array([0.5, np.nan])), DataError, "one finite value a fold"),
        (lambda: summary.summarise(FOLDS, level=95), UsageError, "as 0.95"),
        (lambda: summary.summarise_resampled(FOLDS, 0), UsageError, "test clips over training clips"),
    ],
)
def test_summary_refuses(call, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()


def paired(only_first: int, only_second: int, both: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Results of two systems on clips that are right by one, the other, or both."""
    first = np.repeat([True, False, True], [only_first, only_second, both])
    second = np.repeat([False, True, True], [only_first, only_second, both])
    return first, second


@pytest.mark.parametrize("only_first, only_second", [(0, 5), (9, 2), (30, 31), (0, 0), (1, 0)])
def test_mcnemar_is_the_exact_binomial(only_first: int, only_second: int) -> None:
    ours = significance.mcnemar(*paired(only_first, only_second))
    n = only_first + only_second
    expected = min(1, 2 * stats.binom.cdf(min(only_first, only_second), n, 0.5))
    assert (ours.only_first, ours.only_second) == (only_first, only_second)
    assert ours.p_value == pytest.approx(expected)


def test_mcnemar_does_not_depend_on_who_is_first() -> None:
    first, second = paired(9, 2)
    assert significance.mcnemar(first, second).p_value == significance.mcnemar(second, first).p_value


def test_bootstrap_equals_drawing_clip_by_clip() -> None:
    first, second = paired(30, 12, 58)
    ours = significance.paired_bootstrap(first, second, seed=0)
    random = np.random.default_rng(1)
    clips = random.integers(100, size=(10_000, 100))
    low, high = np.quantile((first.astype(int) - second)[clips].mean(1), [0.025, 0.975])
    assert ours.difference == pytest.approx(0.18)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.011)  # one clip in a hundred


def test_bootstrap_depends_on_the_seed_alone() -> None:
    first, second = paired(30, 12)
    assert significance.paired_bootstrap(first, second, 3) == significance.paired_bootstrap(first, second, 3)
    order = np.random.default_rng(0).permutation(len(first))
    assert significance.paired_bootstrap(first[order], second[order], 3) == significance.paired_bootstrap(
        first, second, 3
    )


def test_bootstrap_of_recordings_cut_into_twenty_is_that_of_the_recordings() -> None:
    first, second = paired(30, 12, 58)
    groups = np.repeat(np.arange(100), 20)
    whole = significance.paired_bootstrap(first, second, 0)
    cut = significance.paired_bootstrap(np.repeat(first, 20), np.repeat(second, 20), 0, groups=groups)
    careless = significance.paired_bootstrap(np.repeat(first, 20), np.repeat(second, 20), 0)
    assert (cut.low, cut.high) == pytest.approx((whole.low, whole.high))
    assert careless.high - careless.low == pytest.approx((cut.high - cut.low) / 20**0.5, rel=0.1)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=14, unique_by=abs).filter(lambda x: 0 not in x))
@settings(max_examples=40, deadline=None)
def test_wilcoxon_is_scipys_exact_test(differences: list[int]) -> None:
    ours = significance.wilcoxon(np.array(differences) / 7)
    assert ours.p_value == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    assert ours.p_value >= ours.smallest_p


def test_wilcoxon_with_ties_and_zeros_by_all_signs() -> None:
    """Sizes 1, 1, 2, 2, 3: mean ranks 1.5, 1.5, 3.5, 3.5, 5; every sign pattern counted."""
    differences = np.array([0.01, -0.01, 0.02, 0.02, 0.03, 0.0])
    ranks = np.array([1.5, 1.5, 3.5, 3.5, 5])
    sums = np.array([ranks[[bool(code >> bit & 1) for bit in range(5)]].sum() for code in range(32)])
    expected = min(1, 2 * (sums >= 13.5).mean())
    assert significance.wilcoxon(differences).p_value == pytest.approx(expected)


def test_wilcoxon_over_five_folds_says_its_limit() -> None:
    ours = significance.wilcoxon(np.array([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert ours.p_value == ours.smallest_p == 0.0625


def test_wilcoxon_ties_of_percentages_are_ties_in_spite_of_rounding() -> None:
    rounded = significance.wilcoxon(np.array([0.3 - 0.2, 0.1, 0.4]))
    assert rounded == significance.wilcoxon(np.array([1.0, 1.0, 4.0]))


def test_wilcoxon_of_equal_systems() -> None:
    assert significance.wilcoxon(np.zeros(5)) == significance.Wilcoxon(1.0, 1.0, 0)


def test_wilcoxon_of_twenty_splits_is_quick_and_exact() -> None:
    differences = np.random.default_rng(0).normal(size=20) + 0.3
    peer = stats.wilcoxon(differences, method="exact").pvalue
    assert significance.wilcoxon(differences).p_value == pytest.approx(peer)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: significance.mcnemar(np.array([True]), np.array([True, False])), DataError, "the same clips"),
        (lambda: significance.mcnemar(np.array([0.9]), np.array([0.1])), DataError, "predicted == target"),
        (lambda: significance.paired_bootstrap(*paired(1, 1), 0, level=2), UsageError, "level between 0 and 1"),
        (
            lambda: significance.paired_bootstrap(*paired(1, 1), 0, groups=np.zeros(3)),
            DataError,
            "3 groups for 12 clips",
        ),
        (lambda: significance.wilcoxon(np.array([np.nan])), DataError, "one finite value a fold"),
    ],
)
def test_significance_refuses(call, error: type[Exception], message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()
