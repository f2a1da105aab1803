"""Tags beside the rows of a recording that is being heard, where a network takes any.

Tags are of a stretch of a minute: the mean over all rows of a tagger that begin in it, and over the taggers. So of a
recording no longer than that they are of the whole, as ``extract --kind tag`` has them; of a longer one rows wait for
a minute at most. Where a tagger has no rows, in silence that it leaves out or behind its last row, its tags of before
go on; rows before anything was heard have zeros.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from asctool.features._plan import Plan
from asctool.training.ready import ReadyNetwork

STRETCH_SECONDS = 60.0


class Tagging:
    """The tags of one recording so far, and the rows that wait for theirs."""

    def __init__(self, networks: Sequence[ReadyNetwork]) -> None:
        self.networks = networks
        self.held: dict[Plan, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)  # starts, rows
        self.sums: dict[int, dict[int, np.ndarray]] = defaultdict(dict)  # by tagger and stretch, (label and 1,)

    def hold(self, plan: Plan, starts: np.ndarray, rows: np.ndarray) -> None:
        """Let rows wait; ``starts`` (row,) in seconds."""
        self.held[plan].append((starts, rows))

    def hear(self, tagger: int, starts: np.ndarray, tags: np.ndarray) -> None:
        """Tags (row, label) of rows that begin then."""
        numbers = _stretches(starts)
        counted = np.column_stack([tags.astype(np.float64), np.ones(len(tags))])
        for number in np.unique(numbers).tolist():
            own = counted[numbers == number].sum(0)
            self.sums[tagger][number] = self.sums[tagger].get(number, 0) + own

    def take(self, plan: Plan, until: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Starts and rows whose stretch is over at a time, which no tagger will go back before."""
        kept = []
        for starts, rows in self.held.pop(plan, []):
            ready = (_stretches(starts) + 1) * STRETCH_SECONDS <= until
            if ready.any():
                yield starts[ready], rows[ready]
            if not ready.all():
                kept.append((starts[~ready], rows[~ready]))
        if kept:
            self.held[plan] = kept

    def beside(self, number: int, starts: np.ndarray) -> np.ndarray:
        """Tags (row, label) float32 for a network, of rows that begin then."""
        network = self.networks[number]
        out = np.zeros((len(starts), network.n_tags), np.float32)
        numbers = _stretches(starts)
        for stretch in np.unique(numbers).tolist() if network.taggers else []:
            heard = [mean for tagger in network.taggers if (mean := self._mean(tagger, stretch)) is not None]
            if heard:
                out[numbers == stretch] = np.mean(heard, 0)
        return out

    def _mean(self, tagger: int, stretch: int) -> np.ndarray | None:
        """Of a stretch, or of the last one before it in which the tagger has rows; None where that is none."""
        known = self.sums[tagger]
        if stretch not in known:
            stretch = max((other for other in known if other < stretch), default=stretch)
        return known[stretch][:-1] / known[stretch][-1] if stretch in known else None


def _stretches(starts: np.ndarray) -> np.ndarray:
    """The number of the stretch that a row begins in."""
    return (starts // STRETCH_SECONDS).astype(int)
