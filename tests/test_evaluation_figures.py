"""Figures of a system: what the title of the reliability diagram counts, and that it is seen whole."""

from pathlib import Path

import numpy as np
import pytest
from made_posteriors import clips_of, make_tables, store_of_folds
from matplotlib.figure import Figure

from asctool.evaluation import figures, metrics
from asctool.stages import score

TABLES = make_tables()


def title_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Figure]:
    """The title of a reliability diagram in one line, and the figure."""
    drawn: list[Figure] = []
    monkeypatch.setattr(figures, "_png", lambda figure: drawn.append(figure) or b"")
    figures.reliability_png(score.score([path]).systems[0])
    return drawn[0].axes[0].get_title().replace("\n", " "), drawn[0]


def test_calibration_error_in_the_title_is_of_all_folds_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, arrays = store_of_folds(tmp_path / "store", TABLES, "a system")
    truths = [TABLES.targets(clips_of(TABLES, fold)).argmax(1) for fold in arrays]
    of_folds = [metrics.reliability(a, t).expected_calibration_error for a, t in zip(arrays.values(), truths)]
    pooled = metrics.reliability(np.concatenate(list(arrays.values())), np.concatenate(truths))
    assert abs(np.mean(of_folds) - pooled.expected_calibration_error) > 0.01
    title, _ = title_of(path, monkeypatch)
    assert title == f"a system: ECE {pooled.expected_calibration_error:.3f}, pooled over {len(arrays)} folds"


def test_a_long_title_stays_in_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = store_of_folds(tmp_path / "store", TABLES, "a system whose name tells all that was done to it " * 3)
    _, figure = title_of(path, monkeypatch)
    figure.canvas.draw()
    left, bottom, right, top = figure.axes[0].title.get_window_extent().extents
    assert min(left, bottom) >= 0 and right <= figure.bbox.width and top <= figure.bbox.height
