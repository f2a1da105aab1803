"""Joining posteriors: the segments of a clip, and the systems that heard the same rows.

Posteriors are (row, class), of several systems (system, row, class); results are float64 and sum to one in each row.

- ``product``: the product of the probabilities, renormalised, in the log domain (Phan 2019)
- ``mean``: their mean (Zhang 2019)
- ``max``: the largest of each class, renormalised
- ``vote``: the share of votes, one a row; a millionth of the mean is mixed in and breaks ties, not class order
- ``weighted``, ``stack``: of systems only, learned on validation rows, see the modules of these names

Scores of tags are no distribution: they are joined by their ``mean`` or their ``max``, as they are.
"""

from types import ModuleType

import numpy as np

from asctool import registry
from asctool.errors import DataError, UsageError
from asctool.evaluation import _validate, stack, weighted
from asctool.evaluation._logs import floored_log, log_mix, softmax

RULES = ("product", "mean", "max", "vote")
LEARNED = ("weighted", "stack")
OF_TAGS = ("mean", "max")
TIE_SHARE = 1e-6  # of the mean in a vote; less than one vote as long as a clip has fewer than a million rows


def segments_to_clips(posteriors: np.ndarray, clip_index: np.ndarray, n_clips: int, rule: str) -> np.ndarray:
    """(clip, class) from rows (row, class) and the clip of each row (row,), 0 to n_clips - 1; every clip has a row."""
    _check_rule(rule)
    if rule == "product":
        return softmax(clip_logs(posteriors, clip_index, n_clips))
    posteriors, starts, counts = _by_clip(posteriors, clip_index, n_clips)
    if rule == "max":
        return _normalised(np.maximum.reduceat(posteriors, starts, axis=0).astype(np.float64))
    means = _sums(posteriors.astype(np.float64), starts) / counts[:, None]
    if rule == "mean":
        return _normalised(means)
    return _with_ties(_sums(_votes(posteriors), starts) / counts[:, None], means)


def clip_logs(posteriors: np.ndarray, clip_index: np.ndarray, n_clips: int) -> np.ndarray:
    """Logarithms (clip, class) of the product of segments, not normalised, for :func:`combine_logs`.

    A probability cannot hold what they can: the product of some forty segments leaves all classes but one at zero.
    """
    posteriors, starts, _ = _by_clip(posteriors, clip_index, n_clips)
    return _sums(floored_log(posteriors), starts)


def combine_logs(logs: np.ndarray) -> np.ndarray:
    """(row, class) by the product, from logarithms of systems (system, row, class), normalised or not."""
    return softmax(logs.sum(0))


def combine(posteriors: np.ndarray, rule: str, weights: np.ndarray | None = None) -> np.ndarray:
    """(row, class) from systems (system, row, class).

    ``weights`` (system,), not negative, are exponents of a product, shares of a mean or a vote; ``max`` has none.
    """
    _check_rule(rule)
    _validate.posteriors(posteriors, ndim=3)
    weights = _check_weights(weights, len(posteriors), rule)
    if rule == "product":
        return softmax(log_mix(weights, posteriors))
    if rule == "max":
        return _normalised(posteriors.max(0).astype(np.float64))
    shares = weights / weights.sum()
    means = np.einsum("s,src->rc", shares, posteriors, dtype=np.float64)
    if rule == "mean":
        return _normalised(means)
    votes = np.stack([_votes(system) for system in posteriors])
    return _with_ties(np.einsum("s,src->rc", shares, votes), means)


def combine_tags(scores: np.ndarray, rule: str) -> np.ndarray:
    """(..., label) float64 from scores of tags (system or segment, ..., label): their mean, or the largest of each."""
    check_tag_rule(rule)
    if scores.ndim < 2 or not len(scores) or not np.isfinite(scores).all():
        raise DataError(
            f"tags of shape {scores.shape}: expected finite scores (system, ..., label), one system at least"
        )
    return scores.max(0).astype(np.float64) if rule == "max" else scores.mean(0, dtype=np.float64)


def check_tag_rule(rule: str) -> None:
    """UsageError for a rule that takes scores for a distribution."""
    if rule not in OF_TAGS:
        raise UsageError(f"rule {rule} is for probabilities that sum to one; tags are joined by {' or '.join(OF_TAGS)}")


def learn(rule: str, posteriors: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """What a learned rule keeps, as arrays, from validation rows (system, row, class) and their classes (row,)."""
    return _learned(rule).fit(posteriors, targets)


def apply_learned(rule: str, arrays: dict[str, np.ndarray], posteriors: np.ndarray) -> np.ndarray:
    """(row, class) from the same systems (system, row, class), in the same order, by what was learned."""
    return _learned(rule).apply(arrays, posteriors)


def _learned(rule: str) -> ModuleType:
    if rule not in LEARNED:
        raise UsageError(registry.unknown("learned rule", rule, list(LEARNED)))
    return {"weighted": weighted, "stack": stack}[rule]


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise UsageError(registry.unknown("rule", rule, list(RULES)))


def _by_clip(posteriors: np.ndarray, clip_index: np.ndarray, n_clips: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows in the order of clips, where each clip begins, and how many rows it has."""
    _validate.posteriors(posteriors)
    counts = _segments_of(clip_index, len(posteriors), n_clips)
    if (np.diff(clip_index) < 0).any():
        posteriors = posteriors[np.argsort(clip_index, kind="stable")]
    return posteriors, np.concatenate([[0], np.cumsum(counts)[:-1]]), counts


def _segments_of(clip_index: np.ndarray, n_rows: int, n_clips: int) -> np.ndarray:
    """How many rows each clip has: (clip,)."""
    if clip_index.shape != (n_rows,) or clip_index.dtype.kind not in "iu":
        raise DataError(
            f"clip indices of shape {clip_index.shape}, type {clip_index.dtype}: expected {n_rows} integers"
        )
    if clip_index.min() < 0 or clip_index.max() >= n_clips:
        raise DataError(f"clip indices from {clip_index.min()} to {clip_index.max()} for {n_clips} clips")
    counts = np.bincount(clip_index, minlength=n_clips)
    if not counts.all():
        raise DataError(f"{(counts == 0).sum()} of {n_clips} clips have no segment, clip {counts.argmin()} the first")
    return counts


def _check_weights(weights: np.ndarray | None, n_systems: int, rule: str) -> np.ndarray:
    if weights is None:
        return np.ones(n_systems)
    if rule == "max":
        raise UsageError("rule max takes no weights; product, mean and vote do")
    weights = np.asarray(weights, np.float64)
    if weights.shape != (n_systems,) or not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise DataError(
            f"weights {weights.tolist()} for {n_systems} systems: expected one a system, not negative, not all 0"
        )
    return weights


def _sums(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(values, starts, axis=0)


def _votes(posteriors: np.ndarray) -> np.ndarray:
    """One at the largest of each row; a row whose largest is shared splits its vote."""
    largest = posteriors == posteriors.max(1, keepdims=True)
    return largest / largest.sum(1, keepdims=True)


def _with_ties(votes: np.ndarray, means: np.ndarray) -> np.ndarray:
    return _normalised((1 - TIE_SHARE) * votes + TIE_SHARE * means)


def _normalised(values: np.ndarray) -> np.ndarray:
    return values / values.sum(1, keepdims=True)
