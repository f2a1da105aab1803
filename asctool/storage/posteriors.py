"""Posterior stores as one table of rows: several systems, folds and subsets, checked so that they can be joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError
from asctool.storage.dataset import Tables
from asctool.storage.store import Store


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


def load(directories: Sequence[Path], subsets: Sequence[str] = ("train", "valid", "test")) -> Loaded:
    """Read posterior stores; DataError where classes differ, a row is double, or a value is no probability."""
    stores = tuple(Store(directory, "posterior") for directory in directories)
    for store in stores[1:]:
        if store.tables.classes != stores[0].tables.classes:
            raise DataError(f"{store.directory}: its classes are not those of {stores[0].directory}")
    blocks: list[Block] = []
    seen: dict[tuple[str, str, int, str], Path] = {}
    for store in stores:
        for block in _blocks(store):
            if block.subset not in subsets:
                continue
            if (block.level, *block.key) in seen:
                other = seen[block.level, *block.key]
                raise DataError(
                    f"{store.directory}: {block.system}, fold {block.fold} stands in {other} too; give it once"
                )
            seen[block.level, *block.key] = store.directory
            blocks.append(block)
    tables = _joined_tables(stores)
    protocol = {name: entry for store in stores for name, entry in store.manifest.get("protocol", {}).items()}
    return Loaded(tuple(blocks), tables, protocol, stores)


def _joined_tables(stores: Sequence[Store]) -> Tables:
    first = stores[0].tables
    by_id = dict(first.by_id)
    for store in stores[1:]:
        for clip in store.tables.clips:
            if by_id.setdefault(clip.clip_id, clip).labels != clip.labels:
                raise DataError(
                    f"{store.directory}: clip {clip.clip_id} has other labels than in {stores[0].directory}"
                )
    return Tables(tuple(by_id.values()), first.folds, first.classes)


def _blocks(store: Store) -> list[Block]:
    columns = store.columns("clip_id", "start", "array", "fold", "subset", "system")
    if not columns:
        raise DataError(f"{store.directory}: holds no rows")
    _check_values(store, columns["array"])
    place = np.unique(columns["clip_id"], return_inverse=True)[1]
    keys = np.unique(
        np.stack([np.unique(columns[name], return_inverse=True)[1] for name in ("system", "fold", "subset")], 1),
        axis=0,
        return_inverse=True,
    )[1].ravel()
    out = []
    for key in range(keys.max() + 1):
        rows = np.flatnonzero(keys == key)
        rows = rows[np.lexsort((columns["start"][rows], place[rows]))]
        clip_ids, start = columns["clip_id"][rows], columns["start"][rows]
        double = (clip_ids[1:] == clip_ids[:-1]) & (start[1:] == start[:-1])
        if double.any():
            clip = clip_ids[1:][double][0]
            raise DataError(f"{store.directory}: clip {clip} at {start[1:][double][0]:g} s is there twice")
        first = rows[0]
        out.append(
            Block(
                str(columns["system"][first]),
                int(columns["fold"][first]),
                str(columns["subset"][first]),
                store.manifest["level"],
                clip_ids,
                start,
                columns["array"][rows],
            )
        )
    return out


def _check_values(store: Store, array: np.ndarray) -> None:
    if array.ndim != 2 or array.shape[1] != len(store.tables.classes):
        raise DataError(f"{store.directory}: rows of shape {array.shape[1:]} for {len(store.tables.classes)} classes")
    if not np.isfinite(array).all() or array.min() < 0 or np.abs(array.sum(1) - 1).max() > 1e-3:
        raise DataError(
            f"{store.directory}: holds rows that are no posteriors (not finite, below 0, or a sum other than 1)"
        )
