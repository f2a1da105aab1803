"""Values to HTML: everything of theirs is escaped, and the page can neither run nor fetch what is not its own."""

import base64
import hashlib
import json
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup

from asctool.report_page.curves import curves
from asctool.report_page.reliability import diagram, rows_of
from asctool.report_page.spectrogram import most_attended, overlay
from asctool.report_page.values import Card, Page, System

LABELS = {
    "macro_f1": "macro F1",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
    "log_loss": "log loss",
    "brier": "Brier",
    "expected_calibration_error": "ECE",
}  # of figures beside accuracy, as columns are called; others go by their own names
SHARES = ("accuracy", "macro_f1", "macro_precision", "macro_recall")  # shown in %
SHADES = 9
LISTED_ROWS = 40_000  # over all systems: what the lists of cells hold, some 25 bytes each


def render(page: Page) -> bytes:
    """The whole file."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    figures = _figures(page)
    style, early, script = (_resource(name) for name in ("page.css", "early.js", "page.js"))
    html = environment.from_string(_resource("page.html")).render(
        page=page,
        policy=_policy(style, early, script),
        style=Markup(style),
        early_script=Markup(early),
        script=Markup(script),
        data=_data(page),
        lead=_lead(page),
        clips_lead=_clips_lead(page),
        curves=curves(page.trainings),
        any_on_test=any(system.on_test for system in page.systems),
        several_levels=len({system.level for system in page.systems}) > 1,
        shares=[figure for figure in figures if _is_share(figure[0])],
        losses=[figure for figure in figures if not _is_share(figure[0])],
        folds=sorted({fold for system in page.systems for fold in system.judged.folds}),
        spread=_spread,
        interval=_interval,
        shaded=_shaded,
        diagram=diagram,
        diagram_rows=rows_of,
        overlay=overlay,
        described=_described,
        said=lambda card: _said(page, card),
        base64=lambda data: base64.b64encode(data).decode(),
    )
    return html.encode()


def _resource(name: str) -> str:
    return (resources.files("asctool.report_page") / name).read_text(encoding="utf-8")


def _policy(style: str, *scripts: str) -> str:
    """Nothing from anywhere: pictures and sounds inside the page, one style and two scripts by their hashes."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in (style, *scripts)
    ]
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src {hashes[0]}; "
        f"script-src {' '.join(hashes[1:])}; base-uri 'none'; form-action 'none'"
    )


def _data(page: Page) -> Markup:
    """What the script needs, as JSON in which nothing can end its element."""
    clips: dict[str, int] = {}
    per_system = LISTED_ROWS // max(1, len(page.closely))
    shown = {card.clip_id for card in page.cards}
    systems = [_system_data(system, clips, per_system, shown) for system in page.closely]
    text = json.dumps({"classes": page.classes, "clips": list(clips), "systems": systems}, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _system_data(system: System, clips: dict[str, int], room: int, shown: set[str]) -> dict[str, Any]:
    """Counts, and the rows of each cell: errors from the most confident on, what is right from the least confident."""
    rows, n_classes = system.rows, len(system.confusion.counts)
    key = rows.true * n_classes + rows.predicted
    confidence = np.where(rows.true == rows.predicted, rows.confidence, -rows.confidence)
    order = np.lexsort((confidence, key))
    cells: dict[str, list[list[Any]]] = {}
    cap = _cap(np.bincount(key), room)
    for first, end in _runs(key[order]):
        here = order[first:end]
        kept = [row for i, row in enumerate(here) if i < cap or str(rows.clip_ids[row]) in shown]
        cells[str(int(key[order[first]]))] = [
            [
                clips.setdefault(str(rows.clip_ids[row]), len(clips)),
                int(rows.folds[row]),
                round(float(rows.start[row]), 3),
                round(1000 * float(rows.confidence[row])),
            ]
            for row in kept
        ]
    return {"level": system.level, "counts": system.confusion.counts.tolist(), "cells": cells}


def _runs(keys: np.ndarray) -> list[tuple[int, int]]:
    """First and end of each run of equal keys."""
    edges = np.flatnonzero(np.diff(keys)) + 1
    return list(zip([0, *edges.tolist()], [*edges.tolist(), len(keys)])) if len(keys) else []


def _cap(counts: np.ndarray, room: int) -> int:
    """The longest list a cell may have so that all together have room."""
    cap = int(counts.max(initial=0))
    while cap > 1 and int(np.minimum(counts, cap).sum()) > room:
        cap = cap * 9 // 10
    return cap


def _lead(page: Page) -> str:
    if not page.systems:
        n_systems = len({training.system for training in page.trainings})
        return f"{_count(len(page.trainings), 'run')} of {_count(n_systems, 'system')}."
    clips = len({str(clip) for system in page.systems for clip in np.unique(system.rows.clip_ids)})
    folds = len({fold for system in page.systems for fold in system.judged.folds})
    names = len({system.name for system in page.systems})
    return (
        f"{_count(clips, 'test clip')} in {_count(len(page.classes), 'class', 'classes')}, {_count(folds, 'fold')}, "
        f"{_count(names, 'system')}."
    )


def _clips_lead(page: Page) -> str:
    if not page.cards:
        return "None are in this page."
    wrong = sum(not card.right for card in page.cards)
    others = sum(card.right and not card.always for card in page.cards)
    told = f"{_count(wrong, 'clip')} that {page.closely[-1].name} misclassifies, its surest mistakes first"
    more = ", and some that it gets right for comparison" if any(c.right and c.always for c in page.cards) else ""
    of_others = f" {_count(others, 'clip')} more are there for the other systems: choose one above." if others else ""
    left = f" Of its mistakes {page.not_shown} have no room here." if page.not_shown else ""
    return f"{told}{more}.{of_others}{left}"


def _count(number: int, word: str, words: str = "") -> str:
    return f"{number:,} {word if number == 1 else words or f'{word}s'}".replace(",", "\u202f")


def _figures(page: Page) -> list[tuple[str, str]]:
    names = dict.fromkeys(name for system in page.systems for name in system.estimates if name != "accuracy")
    return [(name, LABELS.get(name, name.removesuffix("_accuracy").replace("_", " "))) for name in names]


def _is_share(name: str) -> bool:
    return name in SHARES or name.startswith("top_")


def _spread(system: System, name: str) -> str:
    """Mean and deviation."""
    if name not in system.estimates:
        return ""
    estimate = system.estimates[name]
    scale, digits = (100, 2) if _is_share(name) else (1, 3)
    deviation = "" if np.isnan(estimate.deviation) else f" ± {scale * estimate.deviation:.{digits}f}"
    return f"{scale * estimate.mean:.{digits}f}{deviation}"


def _interval(system: System, name: str) -> str:
    estimate = system.estimates[name]
    return "" if np.isnan(estimate.low) else f"{100 * estimate.low:.2f} to {100 * estimate.high:.2f}"


def _shaded(system: System) -> list[list[tuple[int, str]]]:
    """Each count with the classes of its shade, by its share of the true class; errors are raised by a square root."""
    found = system.confusion.counts
    shares = found / np.maximum(found.sum(1, keepdims=True), 1)
    out = []
    for i, (counts, row) in enumerate(zip(found.tolist(), shares)):
        strength = np.where(np.arange(len(row)) == i, row, np.sqrt(row))
        shade = np.ceil(strength * SHADES).astype(int)
        out.append(
            [(n, f"{'d' if j == i else 'e'} s{level}" if n else "") for j, (n, level) in enumerate(zip(counts, shade))]
        )
    return out


def _said(page: Page, card: Card) -> str:
    """What the last system takes a clip for."""
    rows = page.closely[-1].rows
    own = np.flatnonzero(rows.clip_ids == card.clip_id)
    wrong = own[rows.true[own] != rows.predicted[own]]
    told = [
        f"{page.classes[rows.predicted[row]]} ({100 * rows.confidence[row]:.0f}\u00a0%, fold\u00a0{rows.folds[row]})"
        for row in (wrong if len(wrong) else own[:1])
    ]
    return f", classified as {', '.join(told)}" if told else ""


def _described(card: Card) -> str:
    """The text in the place of a spectrogram."""
    if card.picture is None:
        return ""
    attended = f"; most attended at {most_attended(card.attention):.1f} s" if card.attention else ""
    return (
        f"Spectrogram of {card.clip_id} ({card.label}), {card.picture.seconds:.1f} s, "
        f"{card.picture.low_hz:.0f} Hz to {card.picture.high_hz / 1000:.1f} kHz{attended}"
    )
