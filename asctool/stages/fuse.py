"""fuse: segments to clips, then systems to one, within each fold and subset; joined by clip id, never by order."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from asctool import registry
from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion
from asctool.storage import arrays, atomic, manifest, posteriors
from asctool.storage.manifest import Recipe
from asctool.storage.posteriors import Block
from asctool.storage.store import Columns, check_output, write_rows

VERSION = 1
MODEL = "fusion.h5"
LEVELS = ("clip", "segment")


def fuse(
    inputs: Sequence[Path],
    output: Path,
    rule: str = "product",
    level: str = "clip",
    system: str | None = None,
    force: bool = False,
) -> bool:
    """Write the fused posteriors of one or several systems, one or several folds; False when they are there already."""
    if rule not in fusion.RULES + fusion.LEARNED:
        raise UsageError(registry.unknown("rule", rule, [*fusion.RULES, *fusion.LEARNED]))
    if level not in LEVELS:
        raise UsageError(registry.unknown("level", level, list(LEVELS)))
    check_output(output, *inputs)
    loaded = posteriors.load(inputs, subsets=("valid", "test"))  # training rows flatter, and svm writes none
    blocks = [_to_clips(block, rule) if level == "clip" else block for block in loaded.blocks]
    systems = sorted({block.system for block in blocks})
    name = system or " + ".join(systems)
    config = {"rule": rule, "level": level, "system": name, "systems": systems}
    contents = {f"posteriors {i + 1}": store.content for i, store in enumerate(loaded.stores)}
    recipe = Recipe("posterior", "fuse", VERSION, config, contents)
    if manifest.settled(output, recipe, force):
        return False
    fused, learned = _fuse_systems(blocks, loaded.tables.targets, rule)
    protocol = {"of": {key: loaded.protocol.get(key, {}) for key in systems}, "fusion": _chosen_on(rule)}
    with atomic.writer_lock(output):
        write_rows(
            output,
            recipe,
            loaded.tables,
            _columns(fused, name),
            {MODEL: arrays.encode(learned)} if learned else None,
            axes=["row", "class"],
            level=level,
            systems=[name],
            protocol={name: protocol if len(systems) > 1 else loaded.protocol.get(systems[0], {})},
            paths={f"posteriors {i + 1}": manifest.relative(path, output) for i, path in enumerate(inputs)},
        )
    return True


def _chosen_on(rule: str) -> str:
    return "weights learned on validation rows" if rule in fusion.LEARNED else "fixed rule"


def _to_clips(block: Block, rule: str) -> Block:
    """One row a clip; the learned rules join segments by the product."""
    if block.level == "clip":
        return block
    ids, index = np.unique(block.clip_ids, return_inverse=True)
    joined = fusion.segments_to_clips(block.posteriors, index, len(ids), rule if rule in fusion.RULES else "product")
    return replace(block, level="clip", clip_ids=ids, start=np.zeros(len(ids)), posteriors=joined)


def _fuse_systems(blocks: Sequence[Block], targets_of: Any, rule: str) -> tuple[list[Block], dict[str, np.ndarray]]:
    """One block for each fold and subset, from those of all systems; and what was learned, by fold."""
    cells: dict[tuple[int, str], list[Block]] = defaultdict(list)
    for block in sorted(blocks, key=lambda block: block.system):
        cells[block.fold, block.subset].append(block)
    n_systems = len({block.system for block in blocks})
    stacked = {key: _stack(cell, n_systems) for key, cell in sorted(cells.items())}
    if n_systems == 1:
        return [cell[0] for _, cell in sorted(cells.items())], {}
    learned: dict[str, np.ndarray] = {}
    out = []
    for (fold, subset), array in stacked.items():
        if rule in fusion.LEARNED:
            model = _learn(rule, fold, cells, stacked, targets_of)
            learned |= {f"fold {fold} {name}": value for name, value in model.items()}
            joined = fusion.apply_learned(rule, model, array)
        else:
            joined = fusion.combine(array, rule)
        out.append(replace(cells[fold, subset][0], posteriors=joined))
    return out, learned


def _stack(cell: Sequence[Block], n_systems: int) -> np.ndarray:
    """(system, row, class) of the blocks of a fold and subset, whose rows must be the same clips."""
    first = cell[0]
    where = f"fold {first.fold}, {first.subset} rows"
    if len(cell) != n_systems:
        raise DataError(f"{where}: of {n_systems} systems only {', '.join(b.system for b in cell)} have them")
    for block in cell[1:]:
        if not np.array_equal(block.clip_ids, first.clip_ids) or not np.allclose(block.start, first.start, atol=1e-3):
            missing = sorted(set(first.clip_ids.tolist()) ^ set(block.clip_ids.tolist()))
            which = f"clips {', '.join(missing[:5])} are in one only" if missing else "their segments differ"
            raise DataError(f"{where}: {first.system} and {block.system} do not match: {which}")
    return np.stack([block.posteriors for block in cell])


def _learn(
    rule: str,
    fold: int,
    cells: dict[tuple[int, str], list[Block]],
    stacked: dict[tuple[int, str], np.ndarray],
    targets_of: Any,
) -> dict[str, np.ndarray]:
    if (fold, "valid") not in cells:
        raise UsageError(f"--rule {rule} learns on validation rows, and fold {fold} has none (prep --valid makes them)")
    targets = targets_of(cells[fold, "valid"][0].clip_ids).argmax(1)
    return fusion.learn(rule, stacked[fold, "valid"], targets)


def _columns(blocks: Sequence[Block], name: str) -> Columns:
    lengths = [len(block.clip_ids) for block in blocks]
    return {
        "clip_id": np.concatenate([block.clip_ids for block in blocks]),
        "start": np.concatenate([block.start for block in blocks]),
        "array": np.concatenate([block.posteriors for block in blocks]).astype(np.float32),
        "fold": np.repeat([block.fold for block in blocks], lengths).astype(np.int32),
        "subset": np.repeat([block.subset for block in blocks], lengths),
        "system": np.full(sum(lengths), name),
    }
