"""What score shows to people: systems, their probabilities, groups, a comparison, classes, confusions."""

from collections.abc import Sequence

import numpy as np

from asctool.evaluation import comparison, protocol
from asctool.evaluation.systems import LEVELS, Scores, System, group_figure
from asctool.evaluation.tables import Table

PROBABILITIES = {"log_loss": "log loss", "brier": "Brier", "expected_calibration_error": "ECE"}


def tables(scores: Scores, all_systems: bool = False) -> list[Table]:
    """Every table; those of classes and confusions of the last system, or of each where ``all_systems``."""
    shown = [*_judged(scores).values()] if all_systems else list(_judged(scores).values())[-1:]
    found = [_tags(scores)] if scores.holds_tags else [_accuracies(scores), _probabilities(scores)]
    found += groups_and_comparison(scores)
    if scores.holds_tags:
        return [*found, *(_tag_classes(system, scores.classes) for system in shown)]
    return [*found, *(_confusions(system, scores.classes) for system in shown)]


def groups_and_comparison(scores: Scores) -> list[Table]:
    """A table for each column that clips were grouped by, and that of the comparison, where they were asked for."""
    found = [_by_group(scores, column) for column in scores.systems[0].groups]
    if scores.comparison:
        of = scores.comparison
        names = " and ".join(_name_of(scores, name) for name in (of.first, of.second))
        found.append(Table(f"{names}, clips: is the difference luck?", ["test", "result", ""], comparison.rows(of)))
    return found


def heading(scores: Scores) -> str:
    """What the numbers are of, what chose the systems, and everything a reader has to be warned of."""
    systems = scores.systems
    n_folds = sorted({len(system.folds) for system in systems})
    folds = " or ".join(map(str, n_folds)) + (" fold" if n_folds == [1] else " folds")
    chosen: dict[str, dict[str, None]] = {}
    for system in systems:
        for what, words in protocol.choices(system.protocol).items():
            chosen.setdefault(what, {}).update(dict.fromkeys(words))
    told = ["selection: " + ", ".join(f"{what} {' or '.join(words)}" for what, words in chosen.items())]
    if any(system.selected_on_test for system in systems):
        told.append(f"what is marked{protocol.MARK} was chosen on the data that judges it: no fair result")
    if scores.subset == "valid":
        told.append("these rows may have chosen settings: the figures to report are those of test rows")
    return "; ".join([f"{scores.subset} rows, mean ± deviation over {folds}", *told, *scores.notes])


def _accuracies(scores: Scores) -> Table:
    found = _found(scores)
    levels = [level for level in LEVELS if any(level == system.level for system in scores.systems)]
    top = f"top_{scores.systems[0].top}_accuracy"
    has_top = top in next(iter(scores.systems[0].figures.values()))
    more = {"macro_f1": "macro F1", "macro_precision": "macro precision", "macro_recall": "macro recall"}
    more |= {top: f"top {scores.systems[0].top}"} if has_top else {}
    columns = ["system", "folds", *(f"{level} accuracy" for level in levels), "95 % interval", *more.values(), "epoch"]
    rows = []
    for name, judged in _judged(scores).items():
        accuracies = [_percent(found[name, level], "accuracy") if (name, level) in found else "" for level in levels]
        figures = [_percent(judged, figure) for figure in more]
        epoch = protocol.chosen_epoch(judged.protocol)
        rows.append([judged.shown_name, str(len(judged.folds)), *accuracies, _interval(judged), *figures, epoch])
    level = "; from the interval on of clips, where there are any" if "clip" in levels else ""
    return Table(f"{heading(scores)}; in %{level}; {scores.systems[0].how.interval}", columns, rows)


def _probabilities(scores: Scores) -> Table:
    """Segments and clips side by side."""
    found = _found(scores)
    levels = [level for level in LEVELS if any(level == system.level for system in scores.systems)]
    columns = ["system", *(f"{level} {name}" for name in PROBABILITIES.values() for level in levels)]
    rows = [
        [judged.shown_name]
        + [
            f"{found[name, level].summary(figure).mean:.3f}" if (name, level) in found else ""
            for figure in PROBABILITIES
            for level in levels
        ]
        for name, judged in _judged(scores).items()
    ]
    return Table("how far the probabilities can be trusted: means over folds, 0 is best", columns, rows)


def _tags(scores: Scores) -> Table:
    columns = ["system", "level", "folds", "lwlrap", "mAP", "epoch"]
    rows = [
        [
            system.shown_name,
            system.level,
            str(len(system.folds)),
            _percent(system, "lwlrap"),
            _percent(system, "mean_average_precision"),
            protocol.chosen_epoch(system.protocol),
        ]
        for system in scores.systems
    ]
    return Table(f"{heading(scores)}; tags, in %", columns, rows)


def _by_group(scores: Scores, column: str) -> Table:
    judged = list(_judged(scores).values())
    values = sorted({value for system in judged for value in system.groups[column]})
    first = {value: group_figure(system.groups[column][value]) for system in judged for value in system.groups[column]}
    rows = [
        [value or "(empty)", str(first[value][2])]
        + [f"{100 * group_figure(s.groups[column][value])[1]:.2f}" if value in s.groups[column] else "" for s in judged]
        for value in values
    ]
    figure = "lwlrap" if scores.holds_tags else "accuracy"
    return Table(
        f"by {column}: {figure} in %, all folds together, of clips where there are any",
        [column, "labels" if scores.holds_tags else "rows", *(system.shown_name for system in judged)],
        rows,
    )


def _confusions(system: System, classes: Sequence[str]) -> Table:
    """Counts over all folds; columns are the numbers of the classes."""
    found = system.pooled.confusion
    figures = zip(classes, found.counts.tolist(), found.recall, found.precision, found.f1)
    rows = [
        [f"{i} {name}", *(str(n) if n else "" for n in counts), *(f"{100 * figure:.1f}" for figure in of_class)]
        for i, (name, counts, *of_class) in enumerate(figures)
    ]
    title = f"{system.shown_name}, {system.level} level: true class (down) and predicted class (across), all folds"
    return Table(title, ["class", *map(str, range(len(classes))), "recall", "precision", "F1"], rows)


def _tag_classes(system: System, classes: Sequence[str]) -> Table:
    found = system.per_class()
    rows = [
        [name, str(int(count)), *("" if np.isnan(value) else f"{100 * value:.1f}" for value in values)]
        for name, count, *values in zip(classes, found["rows"], found["lwlrap"], found["average_precision"])
    ]
    return Table(f"{system.shown_name}, {system.level} level, all folds", ["class", "rows", "lwlrap", "AP"], rows)


def _found(scores: Scores) -> dict[tuple[str, str], System]:
    return {(system.name, system.level): system for system in scores.systems}


def _judged(scores: Scores) -> dict[str, System]:
    """Each system once, by name: at the level of clips where it has that."""
    found = _found(scores)
    names = dict.fromkeys(system.name for system in scores.systems)
    return {name: next(found[name, level] for level in reversed(LEVELS) if (name, level) in found) for name in names}


def _name_of(scores: Scores, name: str) -> str:
    return _judged(scores)[name].shown_name


def _percent(system: System, figure: str) -> str:
    summary = system.summary(figure)
    spread = "" if np.isnan(summary.deviation) else f" ± {100 * summary.deviation:.2f}"
    return f"{100 * summary.mean:.2f}{spread}"


def _interval(system: System) -> str:
    summary = system.summary("accuracy")
    if np.isnan(summary.low):
        return ""
    return f"{100 * max(0.0, summary.low):.2f} to {100 * min(1.0, summary.high):.2f}"  # Student's knows no bounds
