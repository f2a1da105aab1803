"""Choose a kernel and its configuration by accuracy on rows that the machine was not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asctool import registry
from asctool.classifiers import _folds, _inputs, _scaling
from asctool.errors import UsageError


@dataclass(frozen=True)
class Candidate:
    """A kernel by name and an instance of its ``Config``."""

    kernel: str
    config: Any


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, and the accuracy of each in the order given."""

    best: Candidate
    accuracies: tuple[float, ...]


def tune(
    features: np.ndarray,
    targets: np.ndarray,
    groups: np.ndarray,
    n_classes: int,
    candidates: Sequence[Candidate],
    seed: int,
    n_folds: int = 3,
    validation: tuple[np.ndarray, np.ndarray] | None = None,
) -> Choice:
    """The most accurate candidate, the first among equals.

    Judged on ``validation`` (features, targets) where it is given, else on grouped folds inside the training rows.
    Features are standardised by all training rows.
    """
    if not candidates:
        raise UsageError("nothing to choose from: give one candidate at least")
    _inputs.check(features, targets, n_classes)
    mean, scale = _scaling.statistics(features)
    rows = _scaling.standardise(features, mean, scale)
    if validation is not None:
        splits: list[tuple[np.ndarray, ...]] = [
            (rows, targets, _scaling.standardise(validation[0], mean, scale), validation[1])
        ]
    else:
        folds = _folds.assign(targets, groups, n_classes, n_folds, seed)
        splits = [_split(rows, targets, folds == fold) for fold in range(folds.max() + 1)]
    accuracies = tuple(_accuracy(candidate, splits, n_classes, seed) for candidate in candidates)
    return Choice(candidates[int(np.argmax(accuracies))], accuracies)


def _split(rows: np.ndarray, targets: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, ...]:
    return rows[~held_out], targets[~held_out], rows[held_out], targets[held_out]


def _accuracy(candidate: Candidate, splits: Sequence[tuple[np.ndarray, ...]], n_classes: int, seed: int) -> float:
    module = registry.load("classifiers", candidate.kernel)
    correct = total = 0
    for rows, targets, held_out, truth in splits:
        arrays = module.fit(rows, targets, n_classes, candidate.config, seed)
        correct += int((module.decision(arrays, held_out).argmax(1) == truth).sum())
        total += len(truth)
    return correct / total
