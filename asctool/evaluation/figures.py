"""Figures of one system as PNG bytes: the confusions of its classes, how far its probabilities can be trusted."""

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from asctool.evaluation.systems import System

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
LETTER_INCHES = 0.085  # width of a letter; margins are set by it, for measuring them takes longer than drawing
MANY_CLASSES = 60  # from here on, counts and names would be too small to read


def confusion_png(system: System, classes: Sequence[str]) -> bytes:
    """Counts of true class (down) and predicted class (across), over all folds; the colour is the share of its row."""
    from matplotlib.figure import Figure

    confusion = system.pooled.confusion
    counts = confusion.counts
    size = 0.6 + 0.42 * min(len(classes), MANY_CLASSES)
    names = 0.6 + LETTER_INCHES * max(map(len, classes))
    width, height = names + size + 0.2, names + size + 0.6
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((names / width, names / height, size / width, size / height))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(
        xlabel="predicted", ylabel="true", title=_title(f"{system.shown_name}: {100 * confusion.accuracy:.2f} %", size)
    )
    if len(classes) < MANY_CLASSES:
        ticks = range(len(classes))
        axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, classes)
        for row, column in zip(*np.nonzero(counts)):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return _png(figure)


def reliability_png(system: System) -> bytes:
    """Reliability diagram over all folds: accuracy of rows by how sure the system was, and how many rows those are.

    Its calibration error is of all rows together, which is not the mean over folds that tables show.
    """
    from matplotlib.figure import Figure

    found = system.pooled.reliability
    edges = np.linspace(0, 1, len(found.rows) + 1)
    width, height = edges[1], 5.4
    figure = Figure(figsize=(4.6, height))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    pooled = f", pooled over {len(system.folds)} folds" if len(system.folds) > 1 else ""
    title = _title(f"{system.shown_name}: ECE {found.expected_calibration_error:.3f}{pooled}", 3.7)
    top = 1 - (0.14 + 0.2 * len(title.splitlines())) / height
    figure.subplots_adjust(left=0.14, right=0.96, bottom=0.1, top=top, hspace=0.08)
    above.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="as sure as right")
    above.bar(edges[:-1], np.nan_to_num(found.accuracy), width, align="edge", alpha=0.5, edgecolor="white")
    above.plot(found.confidence, found.accuracy, "o-", markersize=4, label="rows of a bin")
    above.set(ylabel="share that is right", ylim=(0, 1.02), title=title)
    above.legend(loc="upper left", fontsize="small")
    below.bar(edges[:-1], found.rows, width, align="edge", color="0.6", edgecolor="white")
    below.set_yscale("symlog", linthresh=1)  # most rows are often in the last bin
    below.yaxis.set_major_formatter("{x:g}")
    below.set(xlabel="probability of the predicted class", ylabel="rows", xlim=(0, 1), ylim=(0, None))
    return _png(figure)


def _title(text: str, inches: float) -> str:
    """In lines that fit: a mark at the end of a long name must not be cut off."""
    return textwrap.fill(text, max(20, round(10 * inches)))


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
