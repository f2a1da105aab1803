"""Posteriors of the steps of a bundle joined as ``fuse`` joins them: to one of a recording, and along its time."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import fusion
from asctool.storage.bundle import Step

PRODUCT, MEAN = "product", "mean"


@dataclass(frozen=True)
class Part:
    """Posteriors of one system of one fold."""

    system: str
    fold: int
    starts: np.ndarray | None  # (segment,) seconds; None: of the recording as a whole, one row
    seconds: float  # of a segment
    rows: np.ndarray  # (segment, class)
    logs: np.ndarray | None = None  # (1, class) of a product of segments, which may be past what a probability can hold


@dataclass(frozen=True)
class Joining:
    """The steps of a bundle that fuse, and the rule of its results; UsageError for rules that are not for tags."""

    steps: Sequence[Step]
    results: Sequence[int]  # steps whose posteriors are the answer
    models: Mapping[int, Mapping[str, np.ndarray]]  # what a step has learned
    is_tagger: bool  # whether labels are scored each by itself
    rule: str | None = None  # joins folds and results; None: the rule that a result was fused by

    def __post_init__(self) -> None:
        if self.is_tagger:
            for rule in (self.rule or MEAN, *(step.rule for step in self.steps if step.do == "fuse")):
                fusion.check_tag_rule(rule)

    def whole(self, leaves: Mapping[int, Part]) -> np.ndarray:
        """Of a recording, (class,), from the posteriors of the steps that fuse nothing."""
        posterior: np.ndarray = self._final(leaves, along_time=False).rows[0]
        return posterior

    def line(self, leaves: Mapping[int, Part]) -> Part:
        """The same along time."""
        return self._final(leaves, along_time=True)

    @property
    def depth(self) -> int:
        """How many times, one after the other, ``line`` may look for the segments that are nearest to others."""
        below = max(self._depth_of(result) + (self.steps[result].do == "fuse") for result in self.results)  # its folds
        return below + (len(self.results) > 1)

    def _depth_of(self, number: int) -> int:
        return 1 + max(map(self._depth_of, self.steps[number].of)) if self.steps[number].do == "fuse" else 0

    def _final(self, leaves: Mapping[int, Part], along_time: bool) -> Part:
        """All results as one."""
        joined = []
        for number, result in enumerate(self.results):
            rule = self._rule_of(self.steps[result])
            parts = self._value(result, leaves, along_time)
            if not along_time:
                parts = [self._to_clip(part, rule) for part in parts]
            joined.append(replace(self._join(parts, self.rule or rule), system=str(number)))
        return self._join(joined, self.rule or self._rule_of(self.steps[self.results[0]]))

    def _rule_of(self, step: Step) -> str:
        return step.rule if step.rule in fusion.RULES else MEAN if self.is_tagger else PRODUCT

    def _to_clip(self, part: Part, rule: str) -> Part:
        if part.starts is None:
            return part
        if self.is_tagger:
            rows = fusion.combine_tags(part.rows, rule)[None]
        elif rule == PRODUCT:
            return _of_logs(part, _logs(part))
        else:
            rows = fusion.segments_to_clips(part.rows, np.zeros(len(part.rows), int), 1, rule)
        return replace(part, starts=None, rows=rows)

    def _join(self, parts: Sequence[Part], rule: str) -> Part:
        if len(parts) == 1:
            return parts[0]
        if any(part.logs is not None for part in parts) and rule == PRODUCT:
            return _of_logs(parts[0], np.sum([_logs(part) for part in parts], 0))
        stacked = _stacked(parts)
        rows = fusion.combine_tags(stacked, rule) if self.is_tagger else fusion.combine(stacked, rule)
        return replace(parts[0], rows=rows, logs=None)

    def _value(self, number: int, leaves: Mapping[int, Part], along_time: bool) -> list[Part]:
        """What a step gives, as fuse does it; along time, segments stay segments."""
        step = self.steps[number]
        if step.do != "fuse":
            return [leaves[number]]
        # What another step has fused went through a file, as probabilities.
        parts = [replace(part, logs=None) for other in step.of for part in self._value(other, leaves, along_time)]
        if step.level == "clip" and not along_time:
            parts = [self._to_clip(part, self._rule_of(step)) for part in parts]
        systems = {part.system for part in parts}
        if len(systems) == 1:
            return [replace(part, system=step.system, rows=part.rows.astype(np.float32)) for part in parts]
        cells: dict[int, list[Part]] = defaultdict(list)
        for part in sorted(parts, key=lambda part: part.system):
            cells[part.fold].append(part)
        whole = {fold: cell for fold, cell in cells.items() if len({part.system for part in cell}) == len(systems)}
        if not whole:
            raise DataError(f"step {number}: no fold has all of {len(systems)} systems")
        return [self._fused(number, step, fold, cell) for fold, cell in sorted(whole.items())]

    def _fused(self, number: int, step: Step, fold: int, cell: Sequence[Part]) -> Part:
        if step.rule in fusion.LEARNED:
            prefix = f"fold {fold} "
            learned = {name[len(prefix) :]: v for name, v in self.models[number].items() if name.startswith(prefix)}
            joined = replace(cell[0], rows=fusion.apply_learned(step.rule, learned, _stacked(cell)), logs=None)
        else:
            joined = self._join(cell, step.rule)
        return replace(joined, system=step.system, rows=joined.rows.astype(np.float32))


def _logs(part: Part) -> np.ndarray:
    """Of one row, that of the whole recording."""
    return fusion.clip_logs(part.rows, np.zeros(len(part.rows), int), 1) if part.logs is None else part.logs


def _of_logs(part: Part, logs: np.ndarray) -> Part:
    return replace(part, starts=None, rows=fusion.combine_logs(logs[None]), logs=logs)


def _stacked(parts: Sequence[Part]) -> np.ndarray:
    """(part, row, class); segments of another length or hop are those whose middle is nearest to the first part's."""
    first = parts[0]
    if first.starts is None:
        return np.stack([part.rows for part in parts])
    middles = first.starts + first.seconds / 2
    return np.stack([part.rows[_nearest(part, middles)] for part in parts])


def _nearest(part: Part, middles: np.ndarray) -> np.ndarray:
    if part.starts is None:
        return np.zeros(len(middles), int)
    own = part.starts + part.seconds / 2
    behind = np.clip(np.searchsorted(own, middles), 0, len(own) - 1)
    before = np.maximum(behind - 1, 0)
    return np.where(np.abs(own[before] - middles) <= np.abs(own[behind] - middles), before, behind)
