"""The reliability diagram: how often a system is right, against how sure it was."""

import numpy as np
from markupsafe import Markup

from asctool.evaluation.metrics import Reliability
from asctool.report_page.axes import Axes


def diagram(bins: Reliability, name: str) -> Markup:
    """Accuracy of each bin as a bar, what is missing to its mean confidence or beyond it marked."""
    axes = Axes((0.0, 1.0), (0.0, 1.0), width=340.0, height=290.0)
    edges = np.linspace(0, 1, len(bins.rows) + 1)
    marks = []
    for i in np.flatnonzero(bins.rows):
        accuracy, confidence = float(bins.accuracy[i]), float(bins.confidence[i])
        told = f"{bins.rows[i]} rows, {100 * confidence:.1f} % sure, {100 * accuracy:.1f} % right"
        across = (float(edges[i]) + 0.004, float(edges[i + 1]) - 0.004)
        marks.append(axes.bar(across, (0, accuracy), "right-share", told))
        gap = "gap-over" if confidence > accuracy else "gap-under"
        marks.append(axes.bar(across, (accuracy, confidence), gap, told))
        marks.append(axes.above(float(edges[i] + edges[i + 1]) / 2, str(bins.rows[i])))
    marks.append(axes.path((0, 1), (0, 1), "diagonal"))
    title = f"Reliability of {name}: share of rows classified right, by how sure the system was"
    return axes.draw(marks, title, "confidence", "accuracy (%)", percent=True)


def rows_of(bins: Reliability) -> list[tuple[str, str, str, str]]:
    """The same as a table: the bin's ends, its rows, mean confidence, accuracy."""
    edges = np.linspace(0, 1, len(bins.rows) + 1)
    return [
        (
            f"{100 * edges[i]:.0f} to {100 * edges[i + 1]:.0f} %",
            str(int(bins.rows[i])),
            f"{100 * bins.confidence[i]:.1f} %",
            f"{100 * bins.accuracy[i]:.1f} %",
        )
        for i in np.flatnonzero(bins.rows)
    ]
