"""What an epoch consists of: the order of the rows, the partner and share of each. Drawn from (seed, epoch) alone.

Nothing of it depends on what was drawn before, so that training goes on from a checkpoint exactly as it would have.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from asctool import registry
from asctool.errors import UsageError
from asctool.training.settings import Settings

MIXES = ("between_class", "mixup")


@dataclass(frozen=True)
class Epoch:
    """Rows in order, each with its partner and share (no partners: nothing is mixed)."""

    rows: np.ndarray
    partners: np.ndarray | None
    ratios: np.ndarray | None


def draw(settings: Settings, epoch: int, classes: np.ndarray) -> Epoch:
    """The epoch of a number, for training rows of the given classes."""
    generator = np.random.default_rng([settings.seed, epoch])
    n_rows = settings.rows_per_epoch or len(classes)
    rounds = -(-n_rows // len(classes))
    rows = np.concatenate([generator.permutation(len(classes)) for _ in range(rounds)])[:n_rows]
    if settings.mix == "none":
        return Epoch(rows, None, None)
    module = mixing(settings.mix)
    config = module.Config(settings.mix_alpha) if settings.mix == "mixup" else module.Config()
    parameters = module.draw(generator, classes, config)
    return Epoch(rows, parameters.partners[rows], parameters.ratios[rows])


def mixing(name: str) -> Any:
    """The transform that mixes rows; an unknown name is a UsageError."""
    if name not in MIXES:
        raise UsageError(registry.unknown("mix", name, ["none", *MIXES]))
    return registry.load("transforms", name)


def batch_ranges(n_rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Batches of an epoch; a last batch of a single row is left out, for it has no batch statistics."""
    ranges = [(first, min(first + batch_size, n_rows)) for first in range(0, n_rows, batch_size)]
    return [(first, end) for first, end in ranges if end - first > 1]
