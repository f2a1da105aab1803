"""score: posteriors of test or validation rows against the truth; systems are rows, folds give mean and deviation."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from asctool import registry
from asctool.errors import DataError, UsageError
from asctool.evaluation import blocks as blocks_of
from asctool.evaluation import figures, metrics, score_tables
from asctool.evaluation.judgement import judge, judge_tags
from asctool.evaluation.systems import RECORD, Folds, Scores, System
from asctool.evaluation.tables import Table, csv_text, latex, markdown
from asctool.evaluation.tally import tally_by
from asctool.storage import locks, manifest, posteriors, rebuild
from asctool.storage.manifest import Recipe
from asctool.storage.posteriors import Block, Loaded
from asctool.storage.rehearsal import Estimate

VERSION = 2
JUDGED = ("test", "valid")
LISTED = 5  # missing clips told of one by one
log = logging.getLogger("asctool")


def score(
    directories: Sequence[Path],
    by: Sequence[str] = (),
    compared: tuple[str, str] | None = None,
    top: int = 3,
    allow_missing: bool = False,
    verify: bool = True,
    subset: str = "test",
) -> Scores:
    """Judge the test rows of posterior stores; DataError where they have none, a clip is missing or has no label.

    ``subset``: "valid" judges validation rows in their place, by which settings may be chosen. ``by``: columns of
    ``clips.csv``, for a table of each. ``compared``: names of two systems to test against each other.
    ``allow_missing``: judge what is there of a fold's clips; what is not is listed and counted.
    """
    if subset not in JUDGED:
        raise UsageError(registry.unknown("subset", subset, list(JUDGED)))
    loaded = posteriors.load(directories, subsets=(subset,), kinds=("posterior", "tag"), verify=verify)
    if not loaded.blocks:
        raise DataError(f"{', '.join(map(str, directories))}: no {subset} rows")
    _check_top(top, len(loaded.tables.classes))
    missing = _missing(loaded, allow_missing)
    groups = blocks_of.columns_of(loaded.tables, by)
    is_tagged = loaded.holds_tags or any(len(clip.labels) > 1 for clip in loaded.tables.clips)
    blocks, unlabelled = _labelled(loaded, is_tagged)
    if compared and is_tagged:
        raise UsageError("--compare: its tests ask whether a clip is right, which clips of several labels cannot be")
    how = blocks_of.folds(loaded, blocks)
    grouped: dict[tuple[str, str], System] = {}
    for block in blocks:
        system = _system(block, loaded, groups, is_tagged, how, top)
        key = (block.system, block.level)
        grouped[key] = grouped[key] + system if key in grouped else system
    notes = (*missing, *unlabelled, *(f"SPLITS {note.upper()}" for note in loaded.splits if note != "official"))
    found = blocks_of.compare(compared, loaded, blocks, how) if compared else None
    return Scores(tuple(grouped.values()), loaded.tables.classes, loaded.splits, notes, found, subset)


def _check_top(top: int, n_classes: int) -> None:
    if top < 1:
        raise UsageError(f"--top {top}: 1 at least")
    if top != 3 and top >= n_classes:
        raise UsageError(f"--top {top}: fewer than the {n_classes} classes that there are")


def _missing(loaded: Loaded, allowed: bool) -> tuple[str, ...]:
    """A note on what is not there of the folds' test clips; DataError unless that is allowed."""
    told = [
        f"{block.system}, fold {block.fold}: {len(block.missing)} of its {block.subset} clips have no row: "
        + ", ".join(block.missing[:LISTED])
        + (" ..." if len(block.missing) > LISTED else "")
        for block in loaded.blocks
        if block.missing
    ]
    if told and not allowed:
        raise DataError("\n  ".join([*told[:LISTED], "--allow-missing judges what is there, and says so"]))
    for line in told:
        log.warning("%s", line)
    _check_same_clips(loaded.blocks)
    missing = sum(len(block.missing) for block in loaded.blocks)
    what = f"{loaded.blocks[0].subset.upper()} CLIPS"
    return (f"{missing} {what} ARE MISSING over all folds and systems",) if missing else ()


def _check_same_clips(blocks: Sequence[Block]) -> None:
    """Systems in one table have to be judged on the same clips of each fold, whether or not they have rows."""
    first: dict[int, tuple[Block, set[str]]] = {}
    for block in blocks:
        clips = {*block.clips[0].tolist(), *block.missing}
        other, expected = first.setdefault(block.fold, (block, clips))
        if clips != expected:
            raise DataError(
                f"fold {block.fold}: the {block.subset} clips of {block.system} are not those of {other.system}; "
                "their folds were made differently, so their scores cannot stand in one table"
            )


def _labelled(loaded: Loaded, is_tagged: bool) -> tuple[list[Block], tuple[str, ...]]:
    """Blocks of clips whose truth is known: one label each; of tags, clips without any are left out and counted."""
    by_id = loaded.tables.by_id
    ids = {clip_id for block in loaded.blocks for clip_id in block.clips[0].tolist()}
    without = sorted(clip_id for clip_id in ids if not by_id[clip_id].labels)
    judged = f"{len(without)} {loaded.blocks[0].subset} clips"
    if without and (not is_tagged or len(without) == len(ids)):
        raise DataError(f"{judged} have no label, {without[0]} the first; asctool submit writes such results")
    if not without:
        return list(loaded.blocks), ()
    kept = [_rows_of(block, ~np.isin(block.clip_ids, without)) for block in loaded.blocks]
    return [b for b in kept if len(b.clip_ids)], (f"{judged} without a label are left out",)


def _rows_of(block: Block, kept: np.ndarray) -> Block:
    return replace(block, clip_ids=block.clip_ids[kept], start=block.start[kept], posteriors=block.posteriors[kept])


def _system(
    block: Block, loaded: Loaded, groups: dict[str, dict[str, str]], is_tagged: bool, how: Folds, top: int
) -> System:
    """One system in one fold."""
    ids, inverse = block.clips
    truth = loaded.tables.targets(ids)
    values = {column: np.array([of[clip_id] for clip_id in ids.tolist()])[inverse] for column, of in groups.items()}
    counted: dict[str, Any]
    if is_tagged:
        tags = (truth > 0).astype(np.int64)[inverse]
        judged: Any = judge_tags(block.posteriors, tags)
        counted = {
            column: {
                str(value): metrics.lwlrap(tags[of == value], block.posteriors[of == value]) for value in np.unique(of)
            }
            for column, of in values.items()
        }
    else:
        targets = truth.argmax(1)[inverse]
        judged = judge(block.posteriors, targets)
        predicted = block.posteriors.argmax(1)
        counted = {column: tally_by(of, targets, predicted) for column, of in values.items()}
    protocol = loaded.protocol.get(block.system, {})
    return System(block.system, block.level, {block.fold: judged}, protocol, how, counted, top)


def tables(scores: Scores) -> list[Table]:
    """Title, columns and rows of each table for people: all systems, then the confusions of the last."""
    return score_tables.tables(scores)


def as_dict(scores: Scores) -> dict[str, Any]:
    """Everything, as plain JSON values."""
    return scores.as_dict()


def write(scores: Scores, output: Path, force: bool, dry_run: bool = False, directories: Sequence[Path] = ()) -> bool:
    """Write ``scores.json``, ``.md``, ``.tex``, ``.csv`` and figures of each system; False when they are there.

    Figures are of clips, where a system has them. ``directories``: what was judged, which ``info`` follows.
    """
    first = scores.systems[0]
    config: dict[str, Any] = {"systems": sorted({system.name for system in scores.systems}), "subset": scores.subset}
    config |= {"top": first.top, "by": sorted(first.groups)}
    if scores.comparison:
        config["compare"] = [scores.comparison.first, scores.comparison.second]
    recipe = Recipe("scores", "score", VERSION, config, {"scores": manifest.content_hash(_json(scores))})
    if (output / manifest.NAME).is_file() and manifest.read(output)["kind"] != "scores":
        raise UsageError(f"{output}: holds no scores but another artifact; give another directory")
    if rebuild.settled(output, recipe, force, dry_run, lambda: Estimate(sum(map(len, _files(scores).values())))):
        return False
    files = _files(scores)
    with locks.writer_lock(output):
        names = {f"posteriors {i + 1}": path for i, path in enumerate(directories)}
        paths = {name: manifest.relative(path, output) for name, path in names.items()}
        contents = {name: manifest.read(path)["content"] for name, path in names.items()}
        manifest.commit(output, manifest.describe(recipe, paths=paths, contents=contents), files)
    return True


def _files(scores: Scores) -> dict[str, bytes]:
    shown = score_tables.tables(scores, all_systems=True)
    return {
        "scores.json": _json(scores).encode(),
        "scores.md": markdown(shown).encode(),
        "scores.tex": latex(shown).encode(),
        "scores.csv": csv_text(RECORD, scores.records()).encode(),
        **_figures(scores),
    }


def _json(scores: Scores) -> str:
    return json.dumps(scores.as_dict(), indent=1, ensure_ascii=False) + "\n"


def _figures(scores: Scores) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for system in scores.systems:
        has_clips = any((other.name, other.level) == (system.name, "clip") for other in scores.systems)
        if scores.holds_tags or (system.level != "clip" and has_clips):
            continue
        name = "-".join("".join(c if c.isalnum() else " " for c in system.name).split())
        while f"confusion-{name}.png" in files:  # names that differ in signs alone
            name += "-2"
        files[f"confusion-{name}.png"] = figures.confusion_png(system, scores.classes)
        files[f"reliability-{name}.png"] = figures.reliability_png(system)
    return files
