"""Posteriors of test rows judged: systems with all their folds, and their rows."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from asctool.errors import DataError
from asctool.evaluation import blocks as blocks_of
from asctool.evaluation import score_tables
from asctool.evaluation.judgement import judge
from asctool.evaluation.systems import Folds, Scores
from asctool.evaluation.systems import System as Judged
from asctool.evaluation.tally import tally_by
from asctool.report_page.values import More, Rows, System
from asctool.storage.dataset import Tables
from asctool.storage.posteriors import Block, Loaded

LISTED = 5  # missing clips told of one by one


def systems(loaded: Loaded, by: Sequence[str] = ()) -> tuple[System, ...]:
    """Each system and level, in the order given; DataError where a test clip has no label, or several.

    ``by``: columns of ``clips.csv`` to count the clips of each value by.
    """
    how = blocks_of.folds(loaded, loaded.blocks)
    columns = blocks_of.columns_of(loaded.tables, by)
    grouped: dict[tuple[str, str], list[Block]] = defaultdict(list)
    for block in loaded.blocks:
        grouped[block.system, block.level].append(block)
    return tuple(
        _system(sorted(folds, key=lambda block: block.fold), loaded, how, columns) for folds in grouped.values()
    )


def more(found: Sequence[System], loaded: Loaded, compared: Sequence[str]) -> tuple[More, ...]:
    """The tables of groups, and of two systems compared, as score has them."""
    how = found[0].judged.how
    result = blocks_of.compare((compared[0], compared[1]), loaded, loaded.blocks, how) if compared else None
    scores = Scores(tuple(system.judged for system in found), loaded.tables.classes, comparison=result)
    tables = score_tables.groups_and_comparison(scores)
    return tuple(More(title, tuple(columns), tuple(map(tuple, rows))) for title, columns, rows in tables)


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
        tested[block.fold].setdefault(frozenset(block.clips[0].tolist()), block.system)
    for fold, sets in tested.items():
        if len(sets) > 1 and not told:
            names = " and ".join(list(sets.values())[:2])
            raise DataError(f"fold {fold}: {names} were tested on other clips; they cannot stand in one table")
    splits = tuple(f"The splits are {note}." for note in loaded.splits if note != "official")
    return (*told, *splits)


def _system(blocks: Sequence[Block], loaded: Loaded, how: Folds, columns: Mapping[str, Mapping[str, str]]) -> System:
    name, level = blocks[0].system, blocks[0].level
    targets = [_targets(loaded.tables, block) for block in blocks]
    folds = {block.fold: judge(block.posteriors, of_fold) for block, of_fold in zip(blocks, targets)}
    rows = _rows(blocks, targets)
    groups = {
        column: tally_by(np.array([of[clip_id] for clip_id in rows.clip_ids.tolist()]), rows.true, rows.predicted)
        for column, of in columns.items()
    }
    return System(Judged(name, level, folds, loaded.protocol.get(name, {}), how, groups), rows)


def _targets(tables: Tables, block: Block) -> np.ndarray:
    """The class of each row; several labels, or none, cannot stand in a confusion matrix."""
    ids, inverse = block.clips
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
