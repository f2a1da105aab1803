"""Recordings to posteriors, by all that a bundle holds: networks, SVMs, and the rules that join segments and systems.

Posteriors are (class,) of a recording, (segment, class) along its time; those of taggers are scores of labels, each by
itself.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from asctool.classifiers import calibrated
from asctool.errors import DataError, IntegrityError, UsageError
from asctool.features import _stream
from asctool.features._stream import Plan, Segments, Waveform
from asctool.storage.bundle import Bundle, Step
from asctool.training import devices, inference
from asctool.training.joining import Joining, Part
from asctool.training.ready import ReadyNetwork
from asctool.training.tagging import Tagging

Key = tuple[int, inference.Kind]  # a network, and what is asked of it
Piece = tuple[np.ndarray, int, bool]  # samples (channel, sample), Hz, whether it is the last
BATCH_ROWS = 64  # computed at once: of two rows, a recurrent network on a CPU takes four times as long for each
MAX_WAITING = 64  # recordings
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


class Predictor:
    """A bundle at work. ``rule`` joins folds and several models; without one it is the rule a result was fused by.

    IntegrityError where the bundle's parts do not fit each other: all are tried once on silence.
    """

    def __init__(self, bundle: Bundle, device: str = "auto", rule: str | None = None) -> None:
        devices.use_all_cores()
        self.classes, self.steps = bundle.classes, bundle.steps
        place = devices.choose(device)
        try:
            self.networks = [
                ReadyNetwork(described, bundle.part("network", number), place)
                for number, described in enumerate(bundle.networks)
            ]
            self.models = {number: _model(bundle, number) for number in range(len(bundle.steps))}
            self.joining = Joining(bundle.steps, bundle.results, self.models, self._gives_tags(), rule)
            self._try()
        except IntegrityError:
            raise
        except (DataError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise IntegrityError(f"the parts of the model do not fit each other: {error}") from error

    @property
    def is_tagger(self) -> bool:
        """Whether labels are scored each by itself."""
        return self.joining.is_tagger

    def _gives_tags(self) -> bool:
        """Whether labels are scored each by itself; UsageError for models of both kinds."""
        kinds = {step.do == "network" and self.networks[step.network].is_tagger for step in self._leaf_steps()}
        if len(kinds) > 1:
            raise UsageError("a tagger scores each label by itself, a classifier shares out 1: give models of one kind")
        return kinds == {True}

    def _leaf_steps(self) -> list[Step]:
        return [step for step in self.steps if step.do != "fuse"]

    @cached_property
    def plans(self) -> dict[Plan, set[int]]:
        """Each way to make rows, with the networks that take them."""
        found: dict[Plan, set[int]] = defaultdict(set)
        for number, network in enumerate(self.networks):
            found[network.plan].add(number)
        return found

    def hear(self, pieces: Iterable[Piece]) -> Heard:
        """Posteriors of a recording; DataError where it has other channels than the networks were trained on."""
        (heard,) = self.hear_each([pieces])
        if isinstance(heard, DataError):
            raise heard
        assert isinstance(heard, Heard)
        return heard

    def hear_each(
        self, recordings: Iterable[Iterable[Piece]], in_stretches: bool = False
    ) -> Iterator[Heard | Stretch | DataError]:
        """The same of many, in order, or what is wrong with one: networks compute rows of several at once.

        The first is answered at once. With ``in_stretches`` the segments of a long recording come as they are known.
        """
        waiting: list[_Recording] = []
        limit = 1
        for pieces in recordings:
            recording = _Recording(self)
            waiting.append(recording)
            try:
                for samples, rate, is_last in pieces:
                    recording.push(samples, rate, is_last)
                    if recording.n_waiting >= (limit if in_stretches else BATCH_ROWS):
                        if in_stretches:
                            yield from self._told(waiting[:-1])
                            waiting, limit = [recording], BATCH_ROWS
                        self._compute_waiting([recording])
                        if in_stretches and not is_last:
                            yield from recording.stretch()
            except DataError as error:
                recording.error = error
            if len(waiting) >= MAX_WAITING or sum(other.n_waiting for other in waiting) >= limit:
                yield from self._told(waiting)
                waiting, limit = [], BATCH_ROWS
        yield from self._told(waiting)

    def _told(self, recordings: "Sequence[_Recording]") -> Iterator[Heard | DataError]:
        self._compute_waiting([recording for recording in recordings if recording.error is None])
        for recording in recordings:
            yield recording.error or recording.heard()

    def _compute_waiting(self, recordings: "Sequence[_Recording]") -> None:
        """What is asked of networks, of all rows that wait; rows that take tags wait on until those are known."""
        for plan in self.plans:
            parts = [(recording, *part) for recording in recordings for part in recording.waiting.pop(plan, [])]
            if self._numbers(plan, tagged=True):
                for recording, starts, rows in parts:
                    recording.tagging.hold(plan, starts, rows)
            self._compute(parts, self._numbers(plan, tagged=False))
        for plan in self.plans:
            until = [(recording, recording.tagged_until()) for recording in recordings]
            parts = [(recording, *part) for recording, end in until for part in recording.tagging.take(plan, end)]
            self._compute(parts, self._numbers(plan, tagged=True))

    def _numbers(self, plan: Plan, tagged: bool) -> set[int]:
        """The networks that take these rows, with tags beside them or without."""
        return {number for number in self.plans[plan] if bool(self.networks[number].taggers) == tagged}

    def _compute(self, parts: "Sequence[tuple[_Recording, np.ndarray, np.ndarray]]", numbers: set[int]) -> None:
        """What is asked of these networks, of rows of recordings and their starts, for each recording."""
        if not parts or not numbers:
            return
        joined = np.concatenate([rows for _, _, rows in parts])
        ends = np.cumsum([len(rows) for _, _, rows in parts])[:-1]
        outputs = {}
        for key in self.needed:
            if key[0] in numbers:
                tags = np.concatenate([recording.tagging.beside(key[0], starts) for recording, starts, _ in parts])
                outputs[key] = self.compute(key, joined, tags)
        for number in self.taggers & numbers:
            tags = outputs[number, self.networks[number].tag_kind]
            for (recording, starts, _), found in zip(parts, np.split(tags, ends)):
                recording.tagging.hear(number, starts, found)
        for number, step in enumerate(self.steps):
            if step.network in numbers:
                for (recording, _, _), found in zip(parts, np.split(self._leaf_rows(number, outputs), ends)):
                    recording.outputs[number].append(found)

    def _try(self) -> None:
        """Silence through everything."""
        outputs = {key: self._of_silence(key) for key in self.needed}
        leaves = {
            number: self.part(number, np.zeros(1), self._leaf_rows(number, outputs))
            for number, step in enumerate(self.steps)
            if step.do != "fuse"
        }
        if self.joining.whole(leaves).shape != (len(self.classes),) or any(
            self.networks[step.network].classes != self.classes for step in self._leaf_steps()
        ):
            raise IntegrityError("the networks were trained on other classes than the model says")
        self.joining.line(leaves)

    def _of_silence(self, key: Key) -> np.ndarray:
        taggers = self.networks[key[0]].taggers
        tags = [self._of_silence((tagger, self.networks[tagger].tag_kind))[0] for tagger in taggers]
        beside = np.mean(np.stack(tags), 0, keepdims=True) if tags else np.zeros((1, 0), np.float32)
        return self.compute(key, self.networks[key[0]].silence(), beside)

    @cached_property
    def needed(self) -> list[Key]:
        """What is asked of which network."""
        asked = {(step.network, self._kind(step)) for step in self._leaf_steps()}
        return sorted(asked | {(number, self.networks[number].tag_kind) for number in self.taggers})

    @cached_property
    def taggers(self) -> set[int]:
        """The networks whose tags stand beside the rows of others."""
        return {tagger for step in self._leaf_steps() for tagger in self.networks[step.network].taggers}

    def _kind(self, step: Step) -> inference.Kind:
        if step.do == "svm":
            return "embedding"
        return "tag" if self.networks[step.network].is_tagger else "posterior"

    def compute(self, key: Key, rows: np.ndarray, tags: np.ndarray) -> np.ndarray:
        """What is asked of a network, of rows; ``tags`` (row, label) count where it takes any."""
        network = self.networks[key[0]]
        return network.compute(key[1], rows, *([tags] if network.taggers else []))

    def _leaf_rows(self, number: int, outputs: Mapping[Key, np.ndarray]) -> np.ndarray:
        """Posteriors (row, class) of a step that fuses nothing, from what its network gave."""
        step = self.steps[number]
        rows = outputs[step.network, self._kind(step)]
        return calibrated.predict(self.models[number], rows).astype(np.float32) if step.do == "svm" else rows

    def part(self, number: int, starts: np.ndarray, rows: np.ndarray) -> Part:
        """The same with what is known of the step."""
        step = self.steps[number]
        return Part(step.system, step.fold, starts, self.networks[step.network].plan.segment_seconds, rows)


@dataclass
class _Told:
    """What of a recording's segments has been told."""

    until: float = -math.inf  # start of the last one, seconds
    of_leaf: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # rows that are needed no more


class _Recording:
    """One recording on its way through a predictor; ``waiting`` are starts and rows that no network has seen yet."""

    def __init__(self, predictor: Predictor) -> None:
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
        """Rows, of the feature that has most of them."""
        return max((sum(len(rows) for _, rows in parts) for parts in self.waiting.values()), default=0)

    def tagged_until(self) -> float:
        """Seconds that no tagger will go back before."""
        if self.has_ended:
            return math.inf
        plans = [self.predictor.networks[tagger].plan for tagger in self.predictor.taggers]
        return min((self.segments[plan].last_cut for plan in plans), default=-math.inf)

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
            network = self.predictor.networks[min(numbers)]
            own = 1 if plan.waveform.mono else len(samples)
            made = own * (2 if plan.waveform.denoising else 1) * (2 if plan.delta_width else 1)
            if made != network.shape[0]:
                raise DataError(
                    f"{len(samples)} channels make features of {made}, the network was trained on {network.shape[0]}"
                )
            if plan.waveform not in self.waveforms:
                self.waveforms[plan.waveform] = _stream.channels_of(samples, rate, plan.waveform)


def _model(bundle: Bundle, number: int) -> dict[str, np.ndarray]:
    step = bundle.steps[number]
    arrays = bundle.part(step.do, number) if step.do != "network" else {}
    return arrays | ({"kernel": np.array(step.kernel.encode())} if step.do == "svm" else {})


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
