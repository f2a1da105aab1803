"""fuse: segments to clips, then systems to one, within each fold and subset; joined by clip id, never by order."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asctool import registry
from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion
from asctool.storage import arrays, locks, manifest, posteriors, rebuild
from asctool.storage.dataset import Tables
from asctool.storage.manifest import Recipe
from asctool.storage.posteriors import Block, Loaded
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.shards import Columns
from asctool.storage.store import Store, check_output, write_rows

VERSION = 2
MODEL = "fusion.h5"
LEVELS = ("clip", "segment")
LISTED = 5  # clips told of one by one
_Model = dict[str, np.ndarray]  # what a learned rule keeps of a fold
log = logging.getLogger("asctool")


def fuse(
    inputs: Sequence[Path],
    output: Path,
    rule: str | None = None,
    level: str = "clip",
    system: str | None = None,
    force: bool = False,
    allow_missing: bool = False,
    dry_run: bool = False,
    verify: bool = True,
    fitted: Path | None = None,
) -> bool:
    """Write the fused posteriors of one or several systems, one or several folds; False when they are there already.

    DataError where systems do not have the same folds and clips. With ``allow_missing`` a fold that a system lacks is
    left out, a row that one lacks is fused from the others; both are listed, counted and written into the result.
    Without a ``rule`` it is the product, of tags the mean. ``fitted`` is a result of this stage whose learned weights
    are to be used again, for clips that have no validation rows.
    """
    _check_options(rule, level, fitted)
    check_output(output, *inputs, *([fitted] if fitted else []))
    loaded = posteriors.load(
        inputs, subsets=("valid", "test"), kinds=("posterior", "tag"), verify=verify
    )  # training rows flatter, and svm writes none
    weights = _Weights.of(Store(fitted, "posterior", verify=verify)) if fitted else None
    rule = weights.rule if weights else _rule_for(loaded, rule)
    systems = sorted({block.system for block in loaded.blocks})
    # A product of many segments is past what a probability can hold: several systems are joined as logarithms.
    in_logs = rule == "product" and level == "clip" and len(systems) > 1
    blocks = [_to_clips(block, rule, in_logs) if level == "clip" else block for block in loaded.blocks]
    name = system or " + ".join(systems)
    config: dict[str, Any] = {"rule": rule, "level": level, "system": name, "systems": systems}
    if allow_missing:
        config["allow_missing"] = True
    if weights:
        weights.check(systems, sorted({block.fold for block in blocks}))
        config["weights"] = weights.sha256
    contents = {f"posteriors {i + 1}": store.content for i, store in enumerate(loaded.stores)}
    contents["tables"] = manifest.hash_tables(loaded.tables)
    recipe = Recipe("tag" if loaded.holds_tags else "posterior", "fuse", VERSION, config, contents)
    if rebuild.settled(output, recipe, force, dry_run, lambda: _estimate(blocks, allow_missing, loaded.tables, name)):
        return False
    cells, missing = _cells(blocks, allow_missing)
    models = weights.of_fold if weights else _learned(rule, cells, loaded.tables.targets)
    combine = _combination(loaded, rule, in_logs)
    fused = [replace(cell.first, posteriors=_combined(cell, rule, combine, models)) for cell in cells]
    learned = {f"fold {fold} {name}": value for fold, model in models.items() for name, value in model.items()}
    protocol = {"of": {key: loaded.protocol.get(key, {}) for key in systems}, "fusion": _chosen_on(rule, missing)}
    with locks.writer_lock(output):
        if rebuild.settled(output, recipe, force):
            return False  # by somebody else, meanwhile
        write_rows(
            output,
            recipe,
            loaded.tables,
            _columns(fused, name),
            {MODEL: arrays.encode(learned)} if learned else None,
            axes=["row", "label" if loaded.holds_tags else "class"],
            level=level,
            systems=[name],
            protocol={name: protocol if len(systems) > 1 else loaded.protocol.get(systems[0], {})},
            **({"labels": list(loaded.tables.classes)} if loaded.holds_tags else {}),
            **({"missing": missing} if missing else {}),
            paths={f"posteriors {i + 1}": manifest.relative(path, output) for i, path in enumerate(inputs)},
        )
    return True


def _check_options(rule: str | None, level: str, fitted: Path | None) -> None:
    if rule is not None and rule not in fusion.RULES + fusion.LEARNED:
        raise UsageError(registry.unknown("rule", rule, [*fusion.RULES, *fusion.LEARNED]))
    if fitted and rule:
        raise UsageError(f"--rule {rule}: the rule is that of --fitted {fitted}")
    if level not in LEVELS:
        raise UsageError(registry.unknown("level", level, list(LEVELS)))


def _rule_for(loaded: Loaded, rule: str | None) -> str:
    """The rule; UsageError for one that these have not, DataError where tags and posteriors come together."""
    if not loaded.holds_tags:
        if rule in fusion.LEARNED and len({block.system for block in loaded.blocks}) == 1:
            raise UsageError(f"--rule {rule} weighs systems, and these are one: {loaded.blocks[0].system}")
        return rule or "product"
    if any(store.kind != "tag" for store in loaded.stores):
        raise DataError("tags score each label by itself, posteriors share out 1: they cannot be fused")
    if any(block.level != "clip" for block in loaded.blocks):
        raise DataError("tags of segments: fuse joins tags of clips, as extract --kind tag writes them")
    fusion.check_tag_rule(rule or "mean")
    return rule or "mean"


def _estimate(blocks: Sequence[Block], allow_missing: bool, tables: Tables, name: str) -> Estimate:
    cells, _ = _cells(blocks, allow_missing)
    n_rows = sum(len(cell.first.clip_ids) for cell in cells)
    return Estimate(of_rows(tables, n_rows, 4 * len(tables.classes), name))


def _chosen_on(rule: str, missing: dict[str, int]) -> str:
    said = "weights learned on validation rows" if rule in fusion.LEARNED else "fixed rule"
    return f"{said} (rows that a system lacks: {sum(missing.values())})" if missing else said


def _to_clips(block: Block, rule: str, in_logs: bool) -> Block:
    """One row a clip, or logarithms of their product; the learned rules join segments by the product."""
    if block.level == "clip" and not in_logs:
        return block
    ids, index = block.clips
    if in_logs:
        joined = fusion.clip_logs(block.posteriors, index, len(ids))
    else:
        own = rule if rule in fusion.RULES else "product"
        joined = fusion.segments_to_clips(block.posteriors, index, len(ids), own)
    return replace(block, level="clip", clip_ids=ids, start=np.zeros(len(ids)), posteriors=joined)


@dataclass(frozen=True)
class _Cell:
    """The rows of all systems in one fold and subset: what a system lacks is zero there, and absent."""

    first: Block  # of all rows
    array: np.ndarray  # (system, row, class)
    present: np.ndarray  # (system, row) bool

    @property
    def is_whole(self) -> bool:
        return bool(self.present.all())


def _cells(blocks: Sequence[Block], allow_missing: bool) -> tuple[list[_Cell], dict[str, int]]:
    """The cells in order, and how many rows each system lacks; DataError where that is not allowed."""
    grouped: dict[tuple[int, str], list[Block]] = defaultdict(list)
    for block in sorted(blocks, key=lambda block: block.system):
        grouped[block.fold, block.subset].append(block)
    names = sorted({block.system for block in blocks})
    missing: Counter[str] = Counter()
    cells = []
    for _, group in sorted(grouped.items()):
        where = f"fold {group[0].fold}, {group[0].subset} rows"
        counted = Counter(block.system for block in group)
        if max(counted.values()) > 1:
            twice = counted.most_common(1)[0][0]
            raise DataError(f"{where}: {twice} is given twice, as segments and as clips; give one of them")
        if len(group) < len(names):
            told = f"{where}: of {len(names)} systems only {', '.join(block.system for block in group)} have them"
            if not allow_missing:
                raise DataError(told)
            log.warning("%s; left out", told)
            rows = max(len(block.clip_ids) for block in group)
            missing.update(dict.fromkeys(set(names) - {block.system for block in group}, rows))
            continue
        cell = _joined(group)
        for block, present in zip(group, cell.present):
            if not present.all():
                lacking = list(dict.fromkeys(cell.first.clip_ids[~present].tolist()))
                told = f"{where}: {block.system} lacks {(~present).sum()} rows, of clips {_shortened(lacking)}"
                if not allow_missing:
                    raise DataError(f"{told}; --allow-missing fuses them from the others")
                log.warning("%s; fused from the others", told)
                missing[block.system] += int((~present).sum())
        cells.append(cell)
    if not cells:
        raise DataError("there is no fold and subset that all systems have")
    return cells, dict(sorted(missing.items()))


def _joined(group: Sequence[Block]) -> _Cell:
    """Rows by clip and start, to the millisecond; those of one system are in that order already."""
    first = group[0]
    milliseconds = [np.round(1000 * block.start).astype(np.int64) for block in group]
    if all(
        np.array_equal(block.clip_ids, first.clip_ids) and np.array_equal(starts, milliseconds[0])
        for block, starts in zip(group, milliseconds)
    ):
        array = np.stack([block.posteriors for block in group])
        return _Cell(first, array, np.ones(array.shape[:2], bool))
    ids = np.unique(np.concatenate([block.clip_ids for block in group]), return_inverse=True)[1]
    keys = np.stack([ids, np.concatenate(milliseconds)], 1)
    rows, place, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    array = np.zeros((len(group), len(rows), first.posteriors.shape[1]), first.posteriors.dtype)
    present = np.zeros(array.shape[:2], bool)
    ends = np.cumsum([len(block.clip_ids) for block in group])
    for index, (block, places) in enumerate(zip(group, np.split(inverse.ravel(), ends[:-1]))):
        array[index, places] = block.posteriors
        present[index, places] = True
    clip_ids = np.concatenate([block.clip_ids for block in group])[place]
    start = np.concatenate([block.start for block in group])[place]
    return _Cell(replace(first, clip_ids=clip_ids, start=start), array, present)


def _combination(loaded: Loaded, rule: str, in_logs: bool) -> Callable[[np.ndarray], np.ndarray]:
    """What joins the rows of systems (system, row, class) by a fixed rule."""
    if in_logs:
        return fusion.combine_logs
    return partial(fusion.combine_tags if loaded.holds_tags else fusion.combine, rule=rule)


def _combined(
    cell: _Cell, rule: str, combine: Callable[[np.ndarray], np.ndarray], models: Mapping[int, _Model]
) -> np.ndarray:
    """Each row from the systems that have it."""
    if len(cell.array) == 1:
        return cell.first.posteriors
    if rule in fusion.LEARNED:
        return fusion.apply_learned(rule, models[cell.first.fold], cell.array)
    if cell.is_whole:
        return combine(cell.array)
    out = np.empty(cell.array.shape[1:])
    patterns, of_row = np.unique(cell.present, axis=1, return_inverse=True)
    for index, pattern in enumerate(patterns.T):
        rows = of_row.ravel() == index
        out[rows] = combine(cell.array[pattern][:, rows])
    return out


def _learned(rule: str, cells: Sequence[_Cell], targets_of: Any) -> dict[int, _Model]:
    """What a learned rule finds on the validation rows of each fold; nothing of other rules."""
    if rule not in fusion.LEARNED:
        return {}
    if not all(cell.is_whole for cell in cells):
        raise DataError(f"--rule {rule} weighs all systems: it cannot fuse rows that one of them lacks")
    of_valid = {cell.first.fold: cell for cell in cells if cell.first.subset == "valid"}
    return {cell.first.fold: _learn(rule, cell.first.fold, of_valid, targets_of) for cell in cells}


def _learn(rule: str, fold: int, of_valid: Mapping[int, _Cell], targets_of: Any) -> _Model:
    if fold not in of_valid:
        raise UsageError(f"--rule {rule} learns on validation rows, and fold {fold} has none (prep --valid makes them)")
    targets = targets_of(of_valid[fold].first.clip_ids).argmax(1)
    return fusion.learn(rule, of_valid[fold].array, targets)


@dataclass(frozen=True)
class _Weights:
    """What a result of this stage learned, to be used again."""

    where: Path
    rule: str
    systems: list[str]
    of_fold: dict[int, _Model]
    sha256: str

    @classmethod
    def of(cls, store: Store) -> "_Weights":
        """DataError where it learned nothing."""
        if MODEL not in store.manifest["files"]:
            raise DataError(f"{store.directory}: learned no weights; give what fuse --rule weighted or stack wrote")
        of_fold: dict[int, _Model] = defaultdict(dict)
        for name, value in arrays.decode(store.read_file(MODEL)).items():
            _, fold, own = name.split(" ", 2)
            of_fold[int(fold)][own] = value
        config = store.config
        return cls(store.directory, config["rule"], config["systems"], dict(of_fold), store.manifest["files"][MODEL])

    def check(self, systems: list[str], folds: list[int]) -> None:
        """DataError for systems, or folds, that the weights are not of."""
        if systems != self.systems:
            raise DataError(f"{self.where}: has weights of {', '.join(self.systems)}, not of {', '.join(systems)}")
        if set(folds) - set(self.of_fold):
            raise DataError(f"{self.where}: has weights of folds {sorted(self.of_fold)}, not of folds {folds}")


def _shortened(names: Sequence[str]) -> str:
    """The first of several names, and how many more there are."""
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


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
