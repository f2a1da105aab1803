"""Learning curves: the folds of a system as thin lines, their mean as a thick one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from asctool.report_page.axes import Axes
from asctool.report_page.values import Training

SHOWN = {
    "accuracy": "training rows",
    "valid_clip_accuracy": "validation clips",
    "test_clip_accuracy": "test clips",
}  # of the accuracies in a history, with the names they get; those of segments say the same less well


@dataclass(frozen=True)
class Curves:
    """Two figures of one system, and the last values of each of its runs."""

    system: str
    on_test: bool
    loss: Markup
    accuracy: Markup
    legend: tuple[tuple[str, str], ...]  # class of the line, what it is
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def curves(trainings: Sequence[Training]) -> list[Curves]:
    """One for each system, in the order given."""
    systems = dict.fromkeys(training.system for training in trainings)
    return [_of_system(name, [t for t in trainings if t.system == name]) for name in systems]


def _of_system(name: str, runs: Sequence[Training]) -> Curves:
    shown = [series for series in SHOWN if any(series in run.series for run in runs)]
    epochs = max(len(run.series["epoch"]) for run in runs)
    top = max(max(run.series["loss"]) for run in runs)
    lowest = min(min(run.series[series]) for run in runs for series in shown if series in run.series)
    span = (1.0, max(2.0, epochs))
    loss = Axes(span, (0.0, top * 1.05 or 1.0))
    accuracy = Axes(span, (min(0.9, np.floor(lowest * 10) / 10), 1.0))
    columns = ("fold", "epochs", "loss", *(SHOWN[series] for series in shown))
    rows = [
        (str(run.fold), f"{len(run.series['epoch'])}", f"{run.series['loss'][-1]:.4f}")
        + tuple(f"{100 * run.series[series][-1]:.2f} %" if series in run.series else "" for series in shown)
        for run in sorted(runs, key=lambda run: run.fold)
    ]
    of_folds = f"of {name}, {len(runs)} run{'s' if len(runs) > 1 else ''}, by epoch"
    return Curves(
        name,
        any(run.on_test for run in runs),
        loss.draw(_lines(loss, runs, "loss", "c1"), f"Training loss {of_folds}", "epoch", "training loss"),
        accuracy.draw(
            [line for i, series in enumerate(shown) for line in _lines(accuracy, runs, series, f"c{i + 1}")],
            f"Accuracy {of_folds}",
            "epoch",
            "accuracy (%)",
            percent=True,
        ),
        tuple((f"c{i + 1}", SHOWN[series]) for i, series in enumerate(shown)),
        columns,
        tuple(rows),
    )


def _lines(axes: Axes, runs: Sequence[Training], series: str, colour: str) -> list[Markup]:
    found = [run.series for run in runs if series in run.series]
    thin = f"{colour} thin" if len(found) > 1 else colour
    lines = [axes.path(one["epoch"], one[series], thin) for one in found]
    if len(found) > 1:
        n_epochs = min(len(one[series]) for one in found)  # beyond, the mean would be one of fewer runs
        mean = np.mean([one[series][:n_epochs] for one in found], 0)
        lines.append(axes.path(found[0]["epoch"][:n_epochs], mean.tolist(), colour))
    return lines
