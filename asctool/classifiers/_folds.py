"""Folds of training rows for calibration and tuning: no group is in two, classes are spread evenly."""

import numpy as np

from asctool.errors import DataError, UsageError


def assign(targets: np.ndarray, groups: np.ndarray, n_classes: int, n_folds: int, seed: int) -> np.ndarray:
    """The fold (row,) of each row, 0 to n_folds - 1; fewer folds where there are fewer groups than that.

    Groups go, the largest first, each to the fold that then lies nearest to an even share of every class
    and of all rows; the seed breaks ties.
    """
    if n_folds < 2:
        raise UsageError(f"n_folds={n_folds}: two at least")
    if groups.shape != targets.shape:
        raise DataError(f"{len(groups)} groups for {len(targets)} rows")
    names, index = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise DataError("all training rows are of one group: folds inside them need two at least")
    n_folds = min(n_folds, len(names))
    counts = np.zeros((len(names), n_classes))
    np.add.at(counts, (index, targets), 1)
    share = np.maximum(counts.sum(0), 1) / n_folds
    counts /= share  # a rare class weighs as much as a common one
    filled, rows = np.zeros((n_folds, n_classes)), np.zeros(n_folds)
    fold = np.empty(len(names), np.int64)
    order = np.random.default_rng(seed).permutation(len(names))
    for group in order[np.argsort(-counts[order].max(1), kind="stable")]:
        # the growth of the sum of squares; among equals, the fold that has the fewest
        cost = (filled * counts[group]).sum(1)
        fold[group] = np.lexsort((rows, np.round(cost, 9)))[0]
        filled[fold[group]] += counts[group]
        rows[fold[group]] += counts[group].sum()
    return fold[index]
