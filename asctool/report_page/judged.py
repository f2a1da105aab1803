"""Posteriors of test rows judged: systems with all their folds, and their rows."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from asctool.errors import DataError
from asctool.evaluation.judgement import judge
from asctool.evaluation.systems import Folds
from asctool.evaluation.systems import System as Judged
from asctool.report_page.values import Rows, System
from asctool.storage.dataset import Tables
from asctool.storage.posteriors import Block, Loaded

LISTED = 5  # missing clips told of one by one


def systems(loaded: Loaded) -> tuple[System, ...]:
    """Each system and level, in the order given; DataError where a test clip has no label, or several."""
    how = _folds(loaded)
    grouped: dict[tuple[str, str], list[Block]] = defaultdict(list)
    for block in loaded.blocks:
        grouped[block.system, block.level].append(block)
    return tuple(_system(sorted(folds, key=lambda block: block.fold), loaded, how) for folds in grouped.values())


def warnings(loaded: Loaded, allow_missing: bool) -> tuple[str, ...]:
    """What has to stand above the figures; DataError where test clips are missing and that is not allowed."""
    told = [
        f"{block.system}, fold {block.fold}: {len(block.missing)} of its test clips have no row: "
        + ", ".join(block.missing[:LISTED])
        for block in loaded.blocks
        if block.missing
    ]
    if told and not allow_missing:
        raise DataError("\n  ".join([*told[:LISTED], "--allow-missing shows what is there, and says so"]))
    tested: dict[int, dict[frozenset[str], str]] = defaultdict(dict)
    for block in loaded.blocks:
        tested[block.fold].setdefault(frozenset(block.clip_ids.tolist()), block.system)
    for fold, sets in tested.items():
        if len(sets) > 1 and not told:
            names = " and ".join(list(sets.values())[:2])
            raise DataError(f"fold {fold}: {names} were tested on other clips; they cannot stand in one table")
    splits = tuple(f"The splits are {note}." for note in loaded.splits if note != "official")
    return (*told, *splits)


def _folds(loaded: Loaded) -> Folds:
    """Whether folds test some clips again, and how many clips they test for each that they train on."""
    tested: dict[int, set[str]] = defaultdict(set)
    for block in loaded.blocks:
        tested[block.fold].update(block.clip_ids.tolist())
    by_id = loaded.tables.by_id
    trained: dict[int, int] = defaultdict(int)
    for row in loaded.tables.folds:
        if row.subset == "train" and row.clip_id in by_id and not by_id[row.clip_id].is_copy:
            trained[row.fold] += 1
    shares = [len(clips) / trained[fold] if trained[fold] else float("nan") for fold, clips in tested.items()]
    overlap = sum(map(len, tested.values())) > len(set().union(*tested.values()))
    return Folds(overlap, float(np.mean(shares)))


def _system(blocks: Sequence[Block], loaded: Loaded, how: Folds) -> System:
    name, level = blocks[0].system, blocks[0].level
    targets = [_targets(loaded.tables, block) for block in blocks]
    folds = {block.fold: judge(block.posteriors, of_fold) for block, of_fold in zip(blocks, targets)}
    return System(Judged(name, level, folds, loaded.protocol.get(name, {}), how), _rows(blocks, targets))


def _targets(tables: Tables, block: Block) -> np.ndarray:
    """The class of each row; several labels, or none, cannot stand in a confusion matrix."""
    ids, inverse = np.unique(block.clip_ids, return_inverse=True)
    wrong = [clip_id for clip_id in ids.tolist() if len(tables.by_id[clip_id].labels) != 1]
    if wrong:
        raise DataError(f"{len(wrong)} test clips have no label, or several, {wrong[0]} the first: no page shows those")
    return tables.targets(ids).argmax(1)[inverse]


def _rows(blocks: Sequence[Block], targets: Sequence[np.ndarray]) -> Rows:
    posterior = np.concatenate([block.posteriors for block in blocks])
    return Rows(
        np.concatenate([block.clip_ids for block in blocks]),
        np.concatenate([block.start for block in blocks]),
        np.repeat([block.fold for block in blocks], [len(block.start) for block in blocks]),
        np.concatenate(targets),
        posterior.argmax(1),
        posterior.max(1),
    )
