"""score: posteriors of test rows against the truth; systems are rows of the table, folds give mean and deviation."""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.evaluation.judgement import Judgement, judge
from asctool.evaluation.summary import Summary, summarise
from asctool.storage import atomic, manifest, posteriors
from asctool.storage.manifest import Recipe
from asctool.storage.posteriors import Block, Loaded

VERSION = 1
LEVELS = ("segment", "clip")


@dataclass(frozen=True)
class System:
    """One system at one level, judged in each fold."""

    name: str
    level: str
    folds: dict[int, Judgement]
    protocol: dict[str, Any]

    @property
    def pooled(self) -> Judgement:
        """The folds added up."""
        first, *others = self.folds.values()
        for other in others:
            first = first + other
        return first

    def summary(self, figure: str) -> Summary:
        """Mean, deviation and interval of one figure over the folds."""
        return summarise(np.array([judgement.figures()[figure] for judgement in self.folds.values()]))


@dataclass(frozen=True)
class Scores:
    """All systems, in the order in which they were given."""

    systems: tuple[System, ...]
    classes: tuple[str, ...]


def score(directories: Sequence[Path]) -> Scores:
    """Judge the test rows of posterior stores; DataError where they have none, or their clips no label."""
    loaded = posteriors.load(directories, subsets=("test",))
    if not loaded.blocks:
        raise DataError(f"{', '.join(map(str, directories))}: no test rows")
    grouped: dict[tuple[str, str], dict[int, Judgement]] = defaultdict(dict)
    for block in loaded.blocks:
        grouped[block.system, block.level][block.fold] = judge(block.posteriors, _targets(loaded, block))
    systems = tuple(
        System(name, level, dict(sorted(folds.items())), loaded.protocol.get(name, {}))
        for (name, level), folds in grouped.items()
    )
    return Scores(systems, loaded.tables.classes)


def _targets(loaded: Loaded, block: Block) -> np.ndarray:
    """The class of each row; several labels, or none, cannot be judged by accuracy."""
    ids, inverse = np.unique(block.clip_ids, return_inverse=True)
    wrong = [clip_id for clip_id in ids.tolist() if len(loaded.tables.by_id[clip_id].labels) != 1]
    if wrong:
        raise DataError(f"{len(wrong)} test clips have no label, or several; {wrong[0]} is the first")
    return loaded.tables.targets(ids).argmax(1)[inverse]


def as_dict(scores: Scores) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return {"classes": list(scores.classes), "systems": [_system(system, scores.classes) for system in scores.systems]}


def _system(system: System, classes: Sequence[str]) -> dict[str, Any]:
    pooled = system.pooled
    names = list(pooled.figures())
    per_class = zip(classes, pooled.confusion.recall, pooled.confusion.precision, pooled.confusion.f1)
    return {
        "system": system.name,
        "level": system.level,
        "protocol": system.protocol,
        "rows": pooled.rows,
        "folds": {
            str(fold): judgement.figures() | {"rows": judgement.rows} for fold, judgement in system.folds.items()
        },
        "mean": {name: _plain(asdict(system.summary(name))) for name in names},
        "pooled": pooled.figures(),
        "per_class": {name: {"recall": r, "precision": p, "f1": f} for name, r, p, f in per_class},
        "confusion": pooled.confusion.counts.tolist(),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Without NaN, which JSON does not know: the deviation of a single fold is null."""
    return {key: None if isinstance(v, float) and np.isnan(v) else v for key, v in values.items()}


def tables(scores: Scores) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and rows of each table for people: all systems, then the confusions of the last."""
    names = list(dict.fromkeys(system.name for system in scores.systems))
    found = {(system.name, system.level): system for system in scores.systems}
    levels = [level for level in LEVELS if any(level == system.level for system in scores.systems)]
    columns = [
        "system",
        "folds",
        *[f"{level} accuracy" for level in levels],
        "macro F1",
        "macro precision",
        "ECE",
        "log loss",
        "epoch",
    ]
    rows = []
    for name in names:
        judged = next(found[name, level] for level in reversed(LEVELS) if (name, level) in found)
        figures = [_percent(judged, "macro_f1"), _percent(judged, "macro_precision")]
        calibration = [f"{judged.summary(f).mean:.3f}" for f in ("expected_calibration_error", "log_loss")]
        accuracies = [_percent(found[name, level], "accuracy") if (name, level) in found else "" for level in levels]
        rows.append([name, str(len(judged.folds)), *accuracies, *figures, *calibration, _chosen(judged.protocol)])
    title = "test rows, mean ± deviation over folds, in %; from macro F1 on of clips, where there are any"
    return [(title, columns, rows), _confusion_table(scores.systems[-1], scores.classes)]


def _confusion_table(system: System, classes: Sequence[str]) -> tuple[str, list[str], list[list[str]]]:
    """Counts over all folds; columns are the numbers of the classes."""
    found = system.pooled.confusion
    title = f"{system.name}, {system.level} level: true class (down) and predicted class (across), all folds"
    rows = [
        [f"{i} {name}", *(str(n) if n else "" for n in counts), f"{100 * recall:.1f}", f"{100 * precision:.1f}"]
        for i, (name, counts, recall, precision) in enumerate(
            zip(classes, found.counts.tolist(), found.recall, found.precision)
        )
    ]
    return title, ["class", *map(str, range(len(classes))), "recall", "precision"], rows


def _percent(system: System, figure: str) -> str:
    summary = system.summary(figure)
    spread = "" if np.isnan(summary.deviation) else f" ± {100 * summary.deviation:.2f}"
    return f"{100 * summary.mean:.2f}{spread}"


def _chosen(protocol: dict[str, Any]) -> str:
    """What chose the epoch; of a fused system, what chose those of its parts."""
    parts = protocol["of"].values() if "of" in protocol else [protocol]
    found = sorted({_chosen(part) if "of" in part else str(part.get("select", "?")) for part in parts})
    return " ".join(f"{word} (on test data!)" if word == "test" else word for word in found)


def write(scores: Scores, output: Path, force: bool) -> bool:
    """Write ``scores.json``, ``scores.md`` and a picture of the confusions of each system; False when they are there.

    A picture is of clips, where a system has them.
    """
    text = json.dumps(as_dict(scores), indent=1, ensure_ascii=False) + "\n"
    config = {"systems": sorted({system.name for system in scores.systems})}
    recipe = Recipe("scores", "score", VERSION, config, {"scores": manifest.content_hash(text)})
    if (output / manifest.NAME).is_file() and manifest.read(output)["kind"] != "scores":
        raise UsageError(f"{output}: holds no scores but another artifact; give another directory")
    if manifest.settled(output, recipe, force):
        return False
    files = {"scores.json": text.encode(), "scores.md": markdown(scores).encode()}
    for system in scores.systems:
        if system.level == "clip" or all(other.level != "clip" for other in scores.systems):
            name = "-".join("".join(c if c.isalnum() else " " for c in system.name).split())
            files[f"confusion-{name}.png"] = confusion_png(system, scores.classes)
    with atomic.writer_lock(output):
        manifest.commit(output, manifest.describe(recipe), files)
    return True


def markdown(scores: Scores) -> str:
    """The tables in Markdown."""
    lines = []
    for title, columns, rows in tables(scores):
        lines += [f"{title}:", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
    return "\n".join(lines)


def confusion_png(system: System, classes: Sequence[str]) -> bytes:
    """Counts of true class (down) and predicted class (across), over all folds."""
    from matplotlib.figure import Figure

    counts = system.pooled.confusion.counts
    size = 2.2 + 0.42 * len(classes)
    figure = Figure(figsize=(size + 0.6, size), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="predicted", ylabel="true", title=f"{system.name}: {100 * system.pooled.confusion.accuracy:.2f} %")
    for row, column in zip(*np.nonzero(counts)):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
