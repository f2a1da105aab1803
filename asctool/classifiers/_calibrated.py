"""A support vector machine whose outputs are posteriors: standardised features, a kernel, Platt's sigmoid.

Features are (row, dim), targets class indices (row,), posteriors (row, class).
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from asctool import registry
from asctool.classifiers import _folds, _inputs, _platt, _scaling

Arrays = dict[str, np.ndarray]
FLATTEST = -0.01  # slope of a sigmoid, for a score of one deviation
MACHINE = "machine_"  # before the names of the kernel's own arrays


def fit(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    n_classes: int,
    kernel: str,
    config: Any,
    seed: int,
    n_folds: int = 3,
) -> Arrays:
    """Plain arrays: mean, scale, the sigmoids a and b, the kernel's name and its machine, fitted on all rows.

    The sigmoids come from scores of held-out folds inside these rows; a group (row,) is never on both sides, and fewer
    groups than folds make as many folds as groups. A class that a fold's training part lacks is left out of that fold's
    calibration; one that is left out of all (its rows are one group) takes the sigmoid fitted on the scores of
    all the others together. Where no class is left (one group, or one a class), the scores of the training rows
    themselves must do, and posteriors come out too sure. A class without any row gets a posterior of 0.
    """
    _inputs.check(features, targets, n_classes)
    mean, scale = _scaling.statistics(features)
    module = registry.load("classifiers", kernel)
    rows = _scaling.standardise(features, mean, scale)
    machine = module.fit(rows, targets, n_classes, config, seed)
    held_out = _held_out_scores(module, rows, targets, groups, n_classes, config, seed, n_folds)
    a, b = _sigmoids(held_out, lambda: module.decision(machine, rows), targets, n_classes)
    shared = {"mean": mean, "scale": scale, "a": a, "b": b, "seen": _inputs.present(targets, n_classes)}
    return shared | {"kernel": np.array(kernel.encode())} | {MACHINE + name: value for name, value in machine.items()}


def predict(arrays: Arrays, features: np.ndarray) -> np.ndarray:
    """Posteriors (row, class), float64, each row summing to one."""
    _inputs.check_rows(features, len(arrays["mean"]))
    module = registry.load("classifiers", bytes(np.asarray(arrays["kernel"]).item()).decode())
    machine = {name.removeprefix(MACHINE): value for name, value in arrays.items() if name.startswith(MACHINE)}
    scores = module.decision(machine, _scaling.standardise(features, arrays["mean"], arrays["scale"]))
    logs = _platt.log_sigmoids(scores, arrays["a"], arrays["b"])
    return _platt.normalised(np.where(arrays["seen"], logs, -np.inf))


def _held_out_scores(
    module: ModuleType,
    rows: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    n_classes: int,
    config: Any,
    seed: int,
    n_folds: int,
) -> np.ndarray:
    """Scores (row, class) by machines that did not see the row's group; NaN where it knew nothing of the class."""
    scores = np.full((len(rows), n_classes), np.nan)
    if len(np.unique(groups)) < 2:
        return scores
    folds = _folds.assign(targets, groups, n_classes, n_folds, seed)
    for fold in range(folds.max() + 1):
        inside, outside = folds != fold, folds == fold
        seen = _inputs.present(targets[inside], n_classes)
        if seen.sum() < 2:
            continue
        machine = module.fit(rows[inside], targets[inside], n_classes, config, seed)
        scores[outside] = np.where(seen, module.decision(machine, rows[outside]), np.nan)
    return scores


def _sigmoids(
    held_out: np.ndarray, own: Callable[[], np.ndarray], targets: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    positive = targets[:, None] == np.arange(n_classes)
    known = np.isfinite(held_out)
    apt = (positive & known).any(0) & (~positive & known).any(0)
    if not apt.any():
        return _platt.fit(own(), targets, n_classes)
    pooled = known & apt
    a, b = (np.full(n_classes, value) for value in _rising(held_out[pooled], positive[pooled]))
    for index in np.flatnonzero(apt):
        rows = known[:, index]
        a[index], b[index] = _rising(held_out[rows, index], positive[rows, index])
    return a, b


def _rising(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Platt's sigmoid, but never one that falls: held-out scores of few rows may run against the labels by chance.

    Then the posterior is next to the prior, and grows with the score all the same.
    """
    a, b = _platt.fit_one(scores, positive)
    flattest = FLATTEST / (float(scores.std()) or 1.0)
    if a <= flattest:
        return a, b
    prior = float(np.log(((~positive).sum() + 1) / (positive.sum() + 1)))
    return flattest, prior - flattest * float(scores.mean())
