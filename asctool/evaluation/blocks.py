"""Blocks of posteriors, judged: how their folds lie to each other, groups of clips, two systems compared."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from asctool import registry
from asctool.errors import UsageError
from asctool.evaluation import comparison
from asctool.evaluation.comparison import Comparison, Outcome
from asctool.evaluation.systems import Folds
from asctool.storage.dataset import CLIP_COLUMNS, Tables
from asctool.storage.posteriors import Block, Loaded

OWN_COLUMNS = ("labels", "group", "method", "path")  # of clips.csv, besides those of the corpus


def folds(loaded: Loaded, blocks: Sequence[Block]) -> Folds:
    """Whether folds test some clips again, and how many clips they test for each that they train on."""
    tested: dict[int, set[str]] = defaultdict(set)
    for block in blocks:
        tested[block.fold].update(block.clips[0].tolist())
    shares = sum(map(len, tested.values())) > len(set().union(*tested.values()))
    trained: dict[int, int] = defaultdict(int)
    by_id = loaded.tables.by_id
    for row in loaded.tables.folds:
        if row.subset == "train" and row.clip_id in by_id and not by_id[row.clip_id].is_copy:
            trained[row.fold] += 1
    known = all(trained[fold] for fold in tested)
    share = float(np.mean([len(clips) / trained[fold] for fold, clips in tested.items()])) if known else float("nan")
    return Folds(shares, share)


def values_of(tables: Tables, column: str) -> dict[str, str]:
    """Clip id to its value of a column of clips.csv; UsageError for a column that is none."""
    if column in OWN_COLUMNS:
        names = {"labels": lambda clip: ";".join(clip.labels)}
        value_of: Any = names.get(column, lambda clip: str(getattr(clip, column)))
        return {clip.clip_id: value_of(clip) for clip in tables.clips}
    known = sorted({name for clip in tables.clips for name in clip.extra} - set(CLIP_COLUMNS))
    if column not in known:
        raise UsageError(registry.unknown("column of clips.csv", column, [*known, *OWN_COLUMNS]))
    return {clip.clip_id: clip.extra.get(column, "") for clip in tables.clips}


def columns_of(tables: Tables, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """The same of several columns, by name."""
    return {name: values_of(tables, name) for name in names}


def compare(names: tuple[str, str], loaded: Loaded, blocks: Sequence[Block], how: Folds) -> Comparison:
    """Two systems by their clips, of one label each; UsageError for a name that is none, or has no clips."""
    known = list(dict.fromkeys(block.system for block in blocks))
    outcomes: dict[str, dict[int, Outcome]] = {}
    for name in names:
        if name not in known:
            raise UsageError(registry.unknown("system", name, known))
        of = {block.fold: _outcome(block, loaded) for block in blocks if (block.system, block.level) == (name, "clip")}
        if not of:
            raise UsageError(f"--compare: {name} has segments only, no independent witnesses; fuse them to clips first")
        outcomes[name] = of
    if names[0] == names[1]:
        raise UsageError(f"--compare: {names[0]} and itself")
    group_of = {clip.clip_id: clip.group for clip in loaded.tables.clips}
    return comparison.compare(names, outcomes[names[0]], outcomes[names[1]], group_of, how.test_share)


def _outcome(block: Block, loaded: Loaded) -> Outcome:
    right = loaded.tables.targets(block.clip_ids.tolist()).argmax(1) == block.posteriors.argmax(1)
    return Outcome(block.clip_ids, right)
