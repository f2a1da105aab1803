"""Two systems on the same clips of the same folds: is the one better, or was it luck?"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import significance
from asctool.evaluation.significance import Difference, McNemar, ResampledT, Wilcoxon
from asctool.evaluation.summary import Summary

BOOTSTRAP_SEED = 0  # a result must not change from one call to the next


@dataclass(frozen=True)
class Outcome:
    """Which clips of one fold a system got right: ids (clip,) in ascending order and bool (clip,)."""

    clip_ids: np.ndarray
    right: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Differences are accuracies of the first minus those of the second."""

    first: str
    second: str
    clips: int  # different ones
    recordings: int  # that the bootstrap draws
    tested_once: bool  # every clip in one fold only
    mcnemar: McNemar
    bootstrap: Difference
    folds: tuple[tuple[int, float], ...]  # fold and difference
    wilcoxon: Wilcoxon | None  # none of folds that share test clips, of which it knows nothing
    resampled: ResampledT | None  # none of one fold, or where training clips are not known

    def as_dict(self) -> dict[str, Any]:
        """Plain values, NaN left in."""
        return {**asdict(self), "folds": {str(fold): difference for fold, difference in self.folds}}


def compare(
    names: tuple[str, str],
    first: Mapping[int, Outcome],
    second: Mapping[int, Outcome],
    group_of: Mapping[str, str],
    test_share: float,
) -> Comparison:
    """Test two systems by fold, each with the outcomes of the same clips; DataError where they are not.

    ``group_of``: clip id to recording. ``test_share``: test clips over training clips of a fold, nan if unknown.
    A clip that several folds test counts once in McNemar's test, for the system that had it right more often, and goes
    with all its repeats when the bootstrap draws it.
    """
    _check_same(names, first, second)
    ids = np.concatenate([first[fold].clip_ids for fold in sorted(first)])
    right = [np.concatenate([system[fold].right for fold in sorted(first)]) for system in (first, second)]
    clips, index = np.unique(ids, return_inverse=True)
    gain = np.bincount(index, right[0].astype(np.int64) - right[1], len(clips))
    groups = np.unique([group_of[clip_id] for clip_id in clips.tolist()], return_inverse=True)[1]
    differences = np.array([first[fold].right.mean() - second[fold].right.mean() for fold in sorted(first)])
    tested_once = len(clips) == len(ids)
    has_share = len(first) > 1 and test_share > 0
    return Comparison(
        *names,
        clips=len(clips),
        recordings=int(groups.max()) + 1,
        tested_once=tested_once,
        mcnemar=significance.mcnemar(gain > 0, gain < 0),
        bootstrap=significance.paired_bootstrap(right[0], right[1], BOOTSTRAP_SEED, groups[index]),
        folds=tuple(zip(sorted(first), differences.tolist())),
        wilcoxon=significance.wilcoxon(differences) if tested_once else None,
        resampled=significance.resampled_t(differences, test_share) if has_share else None,
    )


def rows(found: Comparison) -> list[list[str]]:
    """What, estimate, and what it says: for a table."""
    test = found.mcnemar
    counted = "" if found.tested_once else "; a clip of several folds counts for the one that had it right more often"
    return [
        [
            f"McNemar, exact, {found.clips} clips",
            _p(test.p_value),
            f"{test.only_first} right by {found.first} alone, {test.only_second} by {found.second} alone{counted}",
        ],
        [
            f"paired bootstrap, {found.recordings} recordings",
            _percent(found.bootstrap.difference, found.bootstrap.low, found.bootstrap.high),
            f"difference over all test rows and its {100 * found.bootstrap.level:g} % interval, in points",
        ],
        ["Wilcoxon over folds", *_wilcoxon(found)],
        ["corrected resampled t over folds", *_resampled(found.resampled)],
    ]


def _wilcoxon(found: Comparison) -> Sequence[str]:
    if found.wilcoxon is None:
        return "", "not given: the folds share test clips, and it takes them for independent"
    n, smallest = found.wilcoxon.n, found.wilcoxon.smallest_p
    return (
        _p(found.wilcoxon.p_value),
        f"{n} folds differ: it cannot go below {smallest:.2g}, whatever the systems are",
    )


def _resampled(found: ResampledT | None) -> Sequence[str]:
    if found is None:
        return "", "not given: it takes two folds at least, and the number of their training clips"
    of: Summary = found.summary
    interval = _percent(of.mean, of.low, of.high)
    return _p(found.p_value), f"mean over {of.n} folds {interval} points (Nadeau & Bengio 2003)"


def _percent(middle: float, low: float, high: float) -> str:
    return f"{100 * middle:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def _p(value: float) -> str:
    return f"p = {value:.3g}"


def _check_same(names: tuple[str, str], first: Mapping[int, Outcome], second: Mapping[int, Outcome]) -> None:
    if set(first) != set(second):
        raise DataError(
            f"{names[0]} has folds {_listed(first)}, {names[1]} has {_listed(second)}: only the same can be compared"
        )
    for fold in first:
        if not np.array_equal(first[fold].clip_ids, second[fold].clip_ids):
            only = sorted(set(first[fold].clip_ids.tolist()) ^ set(second[fold].clip_ids.tolist()))
            raise DataError(
                f"fold {fold}: {len(only)} clips are of {names[0]} or {names[1]} alone, {only[0]} the first; "
                "only the same clips can be compared"
            )


def _listed(folds: Mapping[int, Outcome]) -> str:
    return ", ".join(map(str, sorted(folds)))
