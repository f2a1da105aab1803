"""A recording on its way through a predictor: rows that wait, what came of others, and what can be told already."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from asctool.errors import DataError
from asctool.features import _stream
from asctool.features._plan import Plan, Waveform
from asctool.features._stream import Segments
from asctool.training import tagging
from asctool.training.joining import Part
from asctool.training.tagging import Tagging

if TYPE_CHECKING:
    from asctool.training.predictor import Predictor

ROUNDING = 1e-6  # seconds: far above that of times, far below a frame


@dataclass(frozen=True)
class Stretch:
    """Segments of a recording that goes on."""

    starts: np.ndarray  # (segment,) seconds
    ends: np.ndarray  # (segment,) seconds, no later than the recording's
    timeline: np.ndarray  # (segment, class)


@dataclass(frozen=True)
class Heard(Stretch):
    """What a recording sounds like; its segments, but for those that were told as stretches."""

    seconds: float  # of the recording
    posterior: np.ndarray  # (class,)


@dataclass
class _Told:
    """What of a recording's segments has been told."""

    until: float = -math.inf  # start of the last one, seconds
    of_leaf: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # rows that are needed no more


class Recording:
    """One recording on its way through a predictor; ``waiting`` are starts and rows that no network has seen yet."""

    def __init__(self, predictor: "Predictor") -> None:
        self.predictor = predictor
        self.segments = {plan: Segments(plan) for plan in predictor.plans}
        self.waveforms: dict[Waveform, _stream.Step] = {}
        self.starts: dict[Plan, list[np.ndarray]] = defaultdict(list)
        self.outputs: dict[int, list[np.ndarray]] = defaultdict(list)  # of each step that fuses nothing
        self.waiting: dict[Plan, list[tuple[np.ndarray, np.ndarray]]] = defaultdict(list)
        self.tagging = Tagging(predictor.networks)
        self.told = _Told()
        self.seconds = 0.0
        self.error: DataError | None = None
        self.has_ended = False

    @property
    def n_waiting(self) -> int:
        """Rows that the next computation takes, of the feature that has most of them."""
        kinds = [self.waiting, *([self.tagging.held] if self.has_ended else [])]
        return max((sum(len(rows) for _, rows in parts) for found in kinds for parts in found.values()), default=0)

    def tagged_until(self) -> float:
        """Seconds that no tagger will go back before."""
        if self.has_ended:
            return math.inf
        plans = [self.predictor.networks[tagger].plan for tagger in self.predictor.taggers]
        return min((self.segments[plan].last_cut for plan in plans), default=-math.inf)

    def tag(self, tagger: int, starts: np.ndarray, tags: np.ndarray) -> None:
        """Take note of a tagger's rows; not of the loudest silence, which comes when rows beside it have been told."""
        if self.seconds <= tagging.STRETCH_SECONDS or not self.segments[self.predictor.networks[tagger].plan].is_silent:
            self.tagging.hear(tagger, starts, tags)

    def push(self, samples: np.ndarray, rate: int, is_last: bool) -> None:
        """Go on by a piece."""
        self.seconds += samples.shape[1] / rate
        self.has_ended = is_last
        if not self.waveforms:
            self._begin(samples, rate)
        waveforms = {plan: step(samples, is_last) for plan, step in self.waveforms.items()}
        for plan, segments in self.segments.items():
            starts, rows = segments.push(waveforms[plan.waveform], is_last)
            if len(rows):
                self.starts[plan].append(starts)
                self.waiting[plan].append((starts, rows))

    def stretch(self) -> Iterator[Stretch]:
        """The segments that are known by now and have not been told, where there are any."""
        leaves = self._leaves(self.told.of_leaf)
        if not all(len(part.rows) for part in leaves.values()):
            return
        depth = self.predictor.joining.depth
        middles = [_middles(part) for part in leaves.values()]
        last_cuts = [self._last_cut(number, own) for number, own in zip(leaves, middles)]
        decided = _decided(middles, last_cuts, depth)
        found = self._cut(self.predictor.joining.line(leaves), decided)
        for number, passed in zip(leaves, _passed(middles, decided, depth)):
            self.told.of_leaf[number] += passed
        if len(found.starts):
            yield found

    def heard(self) -> Heard:
        """The recording as a whole, and its segments that have not been told."""
        rest = self._cut(self.predictor.joining.line(self._leaves(self.told.of_leaf)), math.inf)
        return Heard(
            rest.starts, rest.ends, rest.timeline, self.seconds, self.predictor.joining.whole(self._leaves({}))
        )

    def _cut(self, line: Part, decided: float) -> Stretch:
        """Rows of a line after those that were told, whose middles lie no later than this."""
        assert line.starts is not None
        kept = (line.starts > self.told.until) & (line.starts + line.seconds / 2 <= decided)
        starts = line.starts[kept]
        self.told.until = float(starts.max(initial=self.told.until))
        return Stretch(starts, np.minimum(starts + line.seconds, self.seconds), line.rows[kept])

    def _leaves(self, first: Mapping[int, int]) -> dict[int, Part]:
        """The posteriors of all steps that fuse nothing, of each from its own first row on."""
        out = {}
        for number, step in enumerate(self.predictor.steps):
            if step.do != "fuse":
                starts = self.starts[self.predictor.networks[step.network].plan]
                there, rows = (_from(parts, first.get(number, 0)) for parts in (starts, self.outputs[number]))
                out[number] = self.predictor.part(number, there[: len(rows)], rows)
        return out

    def _last_cut(self, number: int, middles: np.ndarray) -> float:
        """Seconds to the middle of the last segment that was cut for a step, whether or not it was kept.

        Of segments that wait for their tags the one before them.
        """
        network = self.predictor.networks[self.predictor.steps[number].network]
        plan = network.plan
        if network.taggers and self.tagging.held.get(plan):
            return float(middles[-1])
        return self.segments[plan].last_cut + plan.segment_seconds / 2

    def _begin(self, samples: np.ndarray, rate: int) -> None:
        for plan, numbers in self.predictor.plans.items():
            own = 1 if plan.waveform.mono else len(samples)
            made = own * (2 if plan.waveform.denoising else 1) * (2 if plan.delta_width else 1)
            for n_channels in {self.predictor.networks[number].shape[0] for number in numbers} - {made}:
                raise DataError(
                    f"{len(samples)} channels make features of {made}, a network was trained on {n_channels}"
                )
            if plan.waveform not in self.waveforms:
                self.waveforms[plan.waveform] = _stream.channels_of(samples, rate, plan.waveform)


def _middles(part: Part) -> np.ndarray:
    """Of segments, in seconds."""
    assert part.starts is not None
    return part.starts + part.seconds / 2


def _decided(middles: Sequence[np.ndarray], last_cuts: Sequence[float], depth: int) -> float:
    """Up to which second it is known what counts there, from the middles of what each leaf has kept and last cut.

    What counts is the nearest segment that was kept, and the next one to be kept may come right behind the last cut.
    So of a silence that some networks leave out the second half waits, as posteriors of the others, all of which stay
    until the recording's end anyway, for the answer of the whole; no row of features waits. Where segments near to
    others are looked for ``depth`` times over, those in between have to be decided too.
    """
    decided = min(float(own[-1] + last) / 2 for own, last in zip(middles, last_cuts))
    for _ in range(depth - 1):
        decided = min(decided, *(_turning(own, decided) for own in middles))
    return decided


def _turning(middles: np.ndarray, seconds: float) -> float:
    """Up to where the nearest of these is no later than a time."""
    n_before = int(np.searchsorted(middles, seconds, "right"))
    if n_before == 0:
        return -math.inf
    return float(middles[n_before - 1] + middles[n_before]) / 2 - ROUNDING if n_before < len(middles) else math.inf


def _passed(middles: Sequence[np.ndarray], decided: float, depth: int) -> list[int]:
    """How many rows of each leaf count nowhere after that."""
    for _ in range(depth - 1):  # what is near to the earliest that is near
        decided = min(decided, *(float(own[_last_before(own, decided)]) for own in middles))
    return [_last_before(own, decided) for own in middles]


def _last_before(middles: np.ndarray, seconds: float) -> int:
    """Place of the last no later than that, or 0: it may be the nearest to what comes next."""
    return max(0, int(np.searchsorted(middles, seconds, "right")) - 1)


def _from(parts: list[np.ndarray], first: int) -> np.ndarray:
    """All rows of some arrays from one row on, without touching those before it."""
    kept = []
    left = first
    for part in parts:
        if left < len(part):
            kept.append(part[left:])
        left = max(0, left - len(part))
    return np.concatenate(kept) if kept else np.zeros((0, *parts[0].shape[1:])) if parts else np.zeros(0)
