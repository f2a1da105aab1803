"""Posterior stores as one table of rows: several systems, folds and subsets, checked so that they can be joined."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError, IntegrityError
from asctool.storage import arrays, manifest
from asctool.storage.dataset import SUBSETS, Tables
from asctool.storage.store import Store

COLUMNS = ("clip_id", "start", "array", "fold", "subset", "system")
TABLES = ("clips.csv", "folds.csv", "classes.txt")


@dataclass(frozen=True)
class Block:
    """The rows of one system in one fold and subset, sorted by clip and start."""

    system: str
    fold: int
    subset: str
    level: str  # segment or clip
    clip_ids: np.ndarray  # (row,) str
    start: np.ndarray  # (row,) seconds
    posteriors: np.ndarray  # (row, class)
    missing: tuple[str, ...] = ()  # clips of the fold's subset of which there is no row

    @cached_property
    def clips(self) -> tuple[np.ndarray, np.ndarray]:
        """Each clip once (clip,), and the place there of each row's (row,)."""
        is_first = _is_first(self.clip_ids)
        return self.clip_ids[is_first], np.cumsum(is_first) - 1

    @property
    def key(self) -> tuple[str, int, str]:
        """System, fold, subset."""
        return self.system, self.fold, self.subset


@dataclass(frozen=True)
class Loaded:
    """All blocks of several stores, the tables they share, and what is known of how each system was chosen."""

    blocks: tuple[Block, ...]
    tables: Tables
    protocol: dict[str, Any]
    stores: tuple[Store, ...]

    @property
    def holds_tags(self) -> bool:
        """Whether rows are scores of tags, which need not sum to one."""
        return any(store.kind == "tag" for store in self.stores)

    @property
    def splits(self) -> tuple[str, ...]:
        """What the corpus says of its splits, where it does: ``official``, or that they are not."""
        return tuple(sorted({clip.extra["splits"] for clip in self.tables.clips if clip.extra.get("splits")}))


def load(
    directories: Sequence[Path],
    subsets: Sequence[str] = SUBSETS,
    kinds: Sequence[str] = ("posterior",),
    verify: bool = True,
) -> Loaded:
    """Read posterior stores; DataError where classes differ, a row is double, or a value is no probability.

    ``kinds``: "tag" lets scores of tags in, which are finite and no more.
    """
    stores = tuple(Store(directory, *kinds, verify=verify) for directory in directories)
    tables = _tables_of(stores)
    for store, own in zip(stores[1:], tables[1:]):
        if own.classes != tables[0].classes:
            raise DataError(f"{store.directory}: its classes are not those of {stores[0].directory}")
    blocks: list[Block] = []
    seen: dict[tuple[str, str, int, str], tuple[Path, Block]] = {}
    members: dict[int, dict[tuple[int, str], set[str]]] = {}
    for store, own in zip(stores, tables):
        if id(own) not in members:
            members[id(own)] = _members(own)
        expected = members[id(own)]
        for block in _blocks(store, own, subsets):
            if (block.level, *block.key) in seen:
                raise _double(store.directory, block, *seen[block.level, *block.key])
            seen[block.level, *block.key] = store.directory, block
            wanted = expected[block.fold, block.subset] if own.folds else set(own.by_id)
            blocks.append(replace(block, missing=tuple(sorted(wanted.difference(block.clips[0].tolist())))))
    return Loaded(tuple(blocks), _joined_tables(stores, tables), _protocols(stores), stores)


def _double(directory: Path, block: Block, where: Path, other: Block) -> DataError:
    what = f"{directory}: {block.system}, fold {block.fold}"
    if set(block.clips[0].tolist()) & set(other.clips[0].tolist()):
        return DataError(f"{what} stands in {where} too; give it once")
    return DataError(f"{what} is of other clips than in {where}; two corpora are not joined, call it once for each")


def merge_protocols(first: Any, second: Any) -> Any:
    """What two folds say of how one system was chosen: equal entries once, others side by side in a list."""
    if first == second:
        return first
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        shared = {key: merge_protocols(first[key], second[key]) for key in first if key in second}
        return {**first, **second, **shared}
    out: list[Any] = []
    for value in (first, second):
        out += [entry for entry in (value if isinstance(value, list) else [value]) if entry not in out]
    return out


def _protocols(stores: Sequence[Store]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for store in stores:
        for name, entry in store.manifest.get("protocol", {}).items():
            found[name] = merge_protocols(found[name], entry) if name in found else entry
    return found


def _tables_of(stores: Sequence[Store]) -> list[Tables]:
    """The tables of each store; those of one content are read and held once."""
    known: dict[tuple[str, ...], Tables] = {}
    out = []
    for store in stores:
        content = tuple(store.manifest["files"].get(name, "") for name in TABLES)
        if content not in known:
            known[content] = store.tables
        out.append(known[content])
    return out


def _members(tables: Tables) -> dict[tuple[int, str], set[str]]:
    """The clips of each fold and subset."""
    out: dict[tuple[int, str], set[str]] = defaultdict(set)
    for row in tables.folds:
        out[row.fold, row.subset].add(row.clip_id)
    return out


def _joined_tables(stores: Sequence[Store], tables: Sequence[Tables]) -> Tables:
    first = tables[0]
    by_id = dict(first.by_id)
    for store, own in zip(stores, tables):
        if own is first:
            continue
        for clip in own.clips:
            if by_id.setdefault(clip.clip_id, clip).labels != clip.labels:
                raise DataError(
                    f"{store.directory}: clip {clip.clip_id} has other labels than in {stores[0].directory}"
                )
    return first if len(by_id) == len(first.clips) else Tables(tuple(by_id.values()), first.folds, first.classes)


def _blocks(store: Store, tables: Tables, subsets: Sequence[str]) -> list[Block]:
    columns = _rows(store, subsets)
    if not len(columns["clip_id"]):
        return []
    _check_values(store, columns["array"], len(tables.classes))
    ids, place = _unique(columns["clip_id"])
    ids = np.char.decode(ids, "utf-8")
    strangers = sorted(set(ids.tolist()) - tables.by_id.keys())
    if strangers:
        raise DataError(f"{store.directory}: clip {strangers[0]} is not in its clips.csv")
    names = {name: _unique(columns[name]) for name in ("system", "fold", "subset")}
    keys = np.zeros(len(place), np.int64)
    for values, inverse in names.values():
        keys = keys * len(values) + inverse
    keys = _unique(keys)[1]
    out = []
    for key in range(keys.max() + 1):
        rows = np.flatnonzero(keys == key)
        rows = rows[np.lexsort((columns["start"][rows], place[rows]))]
        start = columns["start"][rows]
        double = (place[rows[1:]] == place[rows[:-1]]) & (start[1:] == start[:-1])
        if double.any():
            clip = ids[place[rows[1:]][double][0]]
            raise DataError(f"{store.directory}: clip {clip} at {start[1:][double][0]:g} s is there twice")
        first = rows[0]
        out.append(
            Block(
                columns["system"][first].decode(),
                int(columns["fold"][first]),
                columns["subset"][first].decode(),
                store.manifest["level"],
                ids[place[rows]],
                start,
                columns["array"][rows],
            )
        )
    return out


def _unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values in order, and the place there of each; quick where equal ones stand together, as rows do."""
    is_first = _is_first(values)
    found, inverse = np.unique(values[is_first], return_inverse=True)
    return found, inverse[np.cumsum(is_first) - 1]


def _is_first(values: np.ndarray) -> np.ndarray:
    """Whether each value differs from the one before it."""
    out = np.ones(len(values), bool)
    out[1:] = values[1:] != values[:-1]
    return out


def _rows(store: Store, subsets: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of the rows of these subsets; texts as bytes, for most rows are often those of others."""
    parts = []
    wanted = np.array([name.encode() for name in subsets])
    for entry in store.manifest["shards"]:
        data = manifest.read_file(store.directory, entry["file"], entry["sha256"], store.verify)
        if store.kind == "tag" and store.manifest.get("fold") is None and store.manifest["stage"] == "extract":
            raise DataError(f"{store.directory}: holds tags of another corpus than the tagger's, which are of no fold")
        try:
            columns = arrays.decode(data, COLUMNS)
            if {len(columns[name]) for name in COLUMNS} != {entry["rows"]}:
                raise IntegrityError("its columns are not as long as the manifest says")
        except (IntegrityError, KeyError) as error:
            raise IntegrityError(f"{store.directory / entry['file']}: {error}; make it again") from error
        kept = np.isin(columns["subset"], wanted)
        parts.append(columns if kept.all() else {name: values[kept] for name, values in columns.items()})
    if not parts:
        raise DataError(f"{store.directory}: holds no rows")
    try:
        return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}
    except ValueError as error:
        raise IntegrityError(f"{store.directory}: its shards do not belong together; make it again") from error


def _check_values(store: Store, array: np.ndarray, n_classes: int) -> None:
    if array.ndim != 2 or array.shape[1] != n_classes:
        raise DataError(f"{store.directory}: rows of shape {array.shape[1:]} for {n_classes} classes")
    if store.kind == "tag":
        if not np.isfinite(array).all():
            raise DataError(f"{store.directory}: holds scores that are not finite")
    elif not np.isfinite(array).all() or array.min() < 0 or np.abs(array.sum(1) - 1).max() > 1e-3:
        raise DataError(
            f"{store.directory}: holds rows that are no posteriors (not finite, below 0, or a sum other than 1)"
        )
