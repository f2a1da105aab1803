"""Systems judged fold by fold, and everything that is said of them, as plain values for JSON and for a csv."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import protocol
from asctool.evaluation.comparison import Comparison
from asctool.evaluation.judgement import Judgement, TagJudgement
from asctool.evaluation.metrics import RankedPrecision
from asctool.evaluation.summary import Summary, summarise, summarise_alone, summarise_resampled
from asctool.evaluation.tally import Tally

LEVELS = ("segment", "clip")
RECORD = ("system", "level", "selected_on_test", "scope", "name", "figure", "value", "deviation", "low", "high", "n")


@dataclass(frozen=True)
class Folds:
    """How the folds lie to each other, which decides the interval of a mean over them."""

    share_test_clips: bool = False
    test_share: float = float("nan")  # test clips over training clips of a fold, their mean; nan if unknown

    def summarise(self, values: np.ndarray) -> Summary:
        """Student's interval where folds share out the clips, Nadeau & Bengio's where they test some again."""
        if not self.share_test_clips:
            return summarise(values)
        return summarise_resampled(values, self.test_share) if self.test_share > 0 else summarise_alone(values)

    @property
    def interval(self) -> str:
        """Which interval that is, for a heading."""
        if not self.share_test_clips:
            return "95 % interval of the mean: Student's t (too narrow: folds share training clips)"
        if not self.test_share > 0:
            return "no interval: the folds share test clips, and the number of their training clips is not known"
        return (
            f"95 % interval: Nadeau & Bengio's, for splits that share clips (test / training = {self.test_share:.3f})"
        )


@dataclass(frozen=True)
class System:
    """One system at one level, judged in each fold."""

    name: str
    level: str
    folds: Mapping[int, Judgement] | Mapping[int, TagJudgement]
    protocol: Mapping[str, Any]
    how: Folds = field(default_factory=Folds)
    groups: Mapping[str, Mapping[str, Tally] | Mapping[str, RankedPrecision]] = field(default_factory=dict)
    top: int = 3

    def __add__(self, other: "System") -> "System":
        """The same system with the folds of both; what was counted by group adds up."""
        mine, theirs = (self.name, self.level, self.top), (other.name, other.level, other.top)
        if mine != theirs or set(self.folds) & set(other.folds):
            raise DataError(f"{mine[:2]} and {theirs[:2]} do not add: they are no different folds of one system")
        folds: Any = dict(sorted({**self.folds, **other.folds}.items()))
        columns = dict.fromkeys((*self.groups, *other.groups))
        groups = {column: _added(self.groups.get(column, {}), other.groups.get(column, {})) for column in columns}
        return replace(self, folds=folds, groups=groups)

    @property
    def pooled(self) -> Any:
        """The folds added up: a Judgement, of tags a TagJudgement."""
        first, *others = self.folds.values()
        for other in others:
            first = first + other  # type: ignore[operator]
        return first

    @property
    def selected_on_test(self) -> bool:
        """Whether anything about it was chosen on test data."""
        return protocol.selected_on_test(self.protocol)

    @property
    def shown_name(self) -> str:
        """Its name, marked where anything about it was chosen on test data."""
        return protocol.marked(self.name, self.protocol)

    @property
    def holds_tags(self) -> bool:
        """Whether its rows have several classes."""
        return isinstance(next(iter(self.folds.values())), TagJudgement)

    @cached_property
    def figures(self) -> dict[int, dict[str, float]]:
        """Every figure of each fold."""
        return {fold: judgement.figures(self.top) for fold, judgement in self.folds.items()}

    def summary(self, figure: str) -> Summary:
        """Mean, deviation and interval of one figure over the folds that have it; one without positives has no mAP."""
        values = np.array([figures[figure] for figures in self.figures.values()])
        known = values[np.isfinite(values)]
        return self.how.summarise(known) if len(known) else Summary(np.nan, np.nan, np.nan, np.nan, 0, 0.95)

    def per_class(self) -> dict[str, np.ndarray]:
        """Figures of each class (class,) over all folds, and the rows that have it."""
        pooled = self.pooled
        if self.holds_tags:
            found: dict[str, np.ndarray] = pooled.per_class()
            return found
        confusion = pooled.confusion
        by_name = {"recall": confusion.recall, "precision": confusion.precision, "f1": confusion.f1}
        return {**by_name, "rows": confusion.counts.sum(1)}


@dataclass(frozen=True)
class Scores:
    """All systems, in the order in which they were given, and the comparison of two of them that was asked for."""

    systems: tuple[System, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...] = ()  # what the corpus says of its splits: official, or that they are not
    notes: tuple[str, ...] = ()  # what a reader of any table has to know
    comparison: Comparison | None = None
    subset: str = "test"  # what was judged: test or valid

    @property
    def holds_tags(self) -> bool:
        """Whether rows have several classes."""
        return self.systems[0].holds_tags

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain JSON values."""
        found = {
            "subset": self.subset,
            "classes": list(self.classes),
            "splits": list(self.splits),
            "notes": list(self.notes),
            "systems": [_system(system, self.classes) for system in self.systems],
        }
        return _plain(found | ({"comparison": self.comparison.as_dict()} if self.comparison else {}))

    def records(self) -> Iterator[tuple[Any, ...]]:
        """Every number as a row of ``RECORD``, for a csv; what a figure has none of is empty."""
        for system in self.systems:
            head = (system.name, system.level, str(system.selected_on_test).lower())
            for row in _records(system, self.classes):
                yield (*head, *("" if value is None or value != value else value for value in row))


def _records(system: System, classes: tuple[str, ...]) -> Iterator[tuple[Any, ...]]:
    pooled = system.pooled
    for figure in next(iter(system.figures.values())):
        found = system.summary(figure)
        yield "mean over folds", "", figure, found.mean, found.deviation, found.low, found.high, found.n
    for fold, figures in system.figures.items():
        yield from (("fold", fold, *item, None, None, None, system.folds[fold].rows) for item in figures.items())
    yield from (("all folds", "", *item, None, None, None, pooled.rows) for item in pooled.figures(system.top).items())
    of_classes = system.per_class()
    rows = of_classes.pop("rows").tolist()
    for figure, values in of_classes.items():
        for name, value, count in zip(classes, values.tolist(), rows):
            yield "class", name, figure, value, None, None, None, count
    for column, groups in system.groups.items():
        for name, group in groups.items():
            figure, value, count = group_figure(group)
            yield column, name, figure, value, None, None, None, count


def group_figure(group: Tally | RankedPrecision) -> tuple[str, float, int]:
    """The name of what is counted by group, its value, and over how many rows or labels."""
    if isinstance(group, Tally):
        return "accuracy", group.accuracy, group.total
    return "lwlrap", group.overall, sum(group.labels)


def _system(system: System, classes: tuple[str, ...]) -> dict[str, Any]:
    pooled = system.pooled
    of_classes = {figure: values.tolist() for figure, values in system.per_class().items()}
    found = {
        "system": system.name,
        "level": system.level,
        "protocol": dict(system.protocol),
        "chosen": {what: list(words) for what, words in protocol.choices(system.protocol).items()},
        "selected_on_test": system.selected_on_test,
        "rows": pooled.rows,
        "folds": {str(fold): figures | {"rows": system.folds[fold].rows} for fold, figures in system.figures.items()},
        "mean": {figure: asdict(system.summary(figure)) for figure in next(iter(system.figures.values()))},
        "interval": system.how.interval,
        "pooled": pooled.figures(system.top),
        "per_class": {name: {key: v[i] for key, v in of_classes.items()} for i, name in enumerate(classes)},
        "groups": {column: _group_values(groups) for column, groups in system.groups.items()},
    }
    if system.holds_tags:
        return found
    bins = pooled.reliability
    diagram = {"rows": list(bins.rows), "confidence": bins.confidence.tolist(), "accuracy": bins.accuracy.tolist()}
    return found | {"confusion": pooled.confusion.counts.tolist(), "reliability": diagram}


def _group_values(groups: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: group_figure(group) for name, group in groups.items()}
    return {name: {figure: value, "rows": count} for name, (figure, value, count) in figures.items()}


def _added(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    either = {**mine, **theirs}
    return {name: mine[name] + theirs[name] if name in mine and name in theirs else either[name] for name in either}


def _plain(value: Any) -> Any:
    """Without NaN, which JSON does not know: the deviation of a single fold is null."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and value != value else value
