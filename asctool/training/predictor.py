"""Recordings to posteriors, by all that a bundle holds: networks, SVMs, and the rules that join segments and systems.

Posteriors are (class,) of a recording, (segment, class) along its time; those of taggers are scores of labels, each by
itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np

from asctool.classifiers import calibrated
from asctool.errors import DataError, IntegrityError, UsageError
from asctool.features._plan import Plan
from asctool.storage.bundle import Bundle, Step
from asctool.training import devices, inference
from asctool.training.hearing import Heard, Recording, Stretch
from asctool.training.joining import Joining, Part
from asctool.training.ready import ReadyNetwork

Key = tuple[int, inference.Kind]  # a network, and what is asked of it
Piece = tuple[np.ndarray, int, bool]  # samples (channel, sample), Hz, whether it is the last
BATCH_ROWS = 64  # computed at once: of two rows, a recurrent network on a CPU takes four times as long for each
MAX_WAITING = 64  # recordings


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
        waiting: list[Recording] = []
        limit = 1
        for pieces in recordings:
            recording = Recording(self)
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

    def _told(self, recordings: Sequence[Recording]) -> Iterator[Heard | DataError]:
        self._compute_waiting([recording for recording in recordings if recording.error is None])
        for recording in recordings:
            yield recording.error or recording.heard()

    def _compute_waiting(self, recordings: Sequence[Recording]) -> None:
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

    def _compute(self, parts: Sequence[tuple[Recording, np.ndarray, np.ndarray]], numbers: set[int]) -> None:
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
                recording.tag(number, starts, found)
        for number, step in enumerate(self.steps):
            if step.network in numbers:
                for (recording, _, _), found in zip(parts, np.split(self._leaf_rows(number, outputs), ends)):
                    recording.outputs[number].append(found)

    def _try(self) -> None:
        """Silence through everything."""
        outputs: dict[Key, np.ndarray] = {}
        for key in sorted(self.needed, key=lambda key: bool(self.networks[key[0]].taggers)):  # those without tags first
            network = self.networks[key[0]]
            tags = [outputs[tagger, self.networks[tagger].tag_kind] for tagger in network.taggers]
            outputs[key] = self.compute(key, network.silence(), np.mean(tags, 0) if tags else np.zeros((1, 0)))
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


def _model(bundle: Bundle, number: int) -> dict[str, np.ndarray]:
    step = bundle.steps[number]
    arrays = bundle.part(step.do, number) if step.do != "network" else {}
    return arrays | ({"kernel": np.array(step.kernel.encode())} if step.do == "svm" else {})
