"""What an epoch consists of: the order of the rows, the partner and share of each. Drawn from (seed, epoch) alone.

Nothing of it depends on what was drawn before, so that training goes on from a checkpoint exactly as it would have.
"""

from collections.abc import Sequence
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


def draw(settings: Settings, epoch: int, classes: np.ndarray, heads: np.ndarray | None = None) -> Epoch:
    """The epoch of a number, counted from 0, for training rows of the given classes.

    Rows of several ``heads`` come in turn, as many of each as there are of the first, and mix with their own kind.
    """
    generator = np.random.default_rng([settings.seed, epoch])
    if heads is None:
        rows = _order(generator, len(classes), settings.rows_per_epoch or len(classes))
    else:
        rows = _in_turn(generator, heads, settings.rows_per_epoch)
    if settings.mix == "none" or epoch + 1 < settings.mix_from_epoch:
        return Epoch(rows, None, None)
    module = mixing(settings.mix)
    config = module.Config(settings.mix_alpha) if settings.mix == "mixup" else module.Config()
    turn = _turns(rows)
    shape = (int(turn.max(initial=0)) + 1, len(classes))  # a row that comes again gets another partner
    partners, ratios = np.empty(shape, np.int64), np.empty(shape, np.float32)
    for number in range(len(partners)):
        for kind in [slice(None)] if heads is None else [np.flatnonzero(heads == head) for head in np.unique(heads)]:
            parameters = module.draw(generator, classes[kind], config)
            partners[number, kind] = np.arange(len(classes))[kind][parameters.partners]
            ratios[number, kind] = parameters.ratios
    return Epoch(rows, partners[turn, rows], ratios[turn, rows])


def _turns(rows: np.ndarray) -> np.ndarray:
    """How often each row came before, (row,)."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.searchsorted(ordered, ordered)  # where the same ones begin
    turn = np.empty(len(rows), np.int64)
    turn[order] = np.arange(len(rows)) - first
    return turn


def _order(generator: np.random.Generator, n_there: int, n_rows: int) -> np.ndarray:
    """So many rows: all in a random order, and again in another."""
    rounds = -(-n_rows // n_there)
    return np.concatenate([generator.permutation(n_there) for _ in range(rounds)])[:n_rows]


def _in_turn(generator: np.random.Generator, heads: np.ndarray, n_rows: int) -> np.ndarray:
    kinds = [np.flatnonzero(heads == head) for head in np.unique(heads)]
    n_each = -(-n_rows // len(kinds)) if n_rows else len(kinds[0])
    rows = np.stack([kind[_order(generator, len(kind), n_each)] for kind in kinds], 1).ravel()
    return rows[: n_rows or len(rows)]


@dataclass(frozen=True)
class Share:
    """What one of several processes computes of an epoch: its part of every batch."""

    places: np.ndarray  # (row,) in the epoch's rows
    ranges: list[tuple[int, int]]  # of each batch in ``places``
    weights: np.ndarray  # (row,) float32: the sum of weighted losses, as a mean over processes, is the batch's mean


def share(ranges: Sequence[tuple[int, int]], rank: int, size: int) -> Share:
    """The part of process ``rank`` of ``size`` in each batch, as even as can be.

    A part of fewer than two rows, which has no batch statistics, is filled up with rows that weigh nothing.
    """
    places: list[int] = []
    own: list[tuple[int, int]] = []
    weights: list[float] = []
    for first, end in ranges:
        begin, stop = (first + (end - first) * number // size for number in (rank, rank + 1))
        filling = max(0, 2 - (stop - begin))
        n_before = own[-1][1] if own else 0
        places += [*range(begin, stop), *range(first, first + filling)]
        weights += [size / (end - first)] * (stop - begin) + [0.0] * filling
        own.append((n_before, len(places)))
    return Share(np.array(places, np.int64), own, np.array(weights, np.float32))


def mixing(name: str) -> Any:
    """The transform that mixes rows; an unknown name is a UsageError."""
    if name not in MIXES:
        raise UsageError(registry.unknown("mix", name, ["none", *MIXES]))
    return registry.load("transforms", name)


def batch_ranges(n_rows: int, batch_size: int) -> list[tuple[int, int]]:
    """Batches of an epoch; a last batch of a single row is left out, for it has no batch statistics."""
    ranges = [(first, min(first + batch_size, n_rows)) for first in range(0, n_rows, batch_size)]
    return [(first, end) for first, end in ranges if end - first > 1]
