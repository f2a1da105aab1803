"""The rows of a feature store that one fold uses: which are training rows, their targets, their clips."""

from dataclasses import dataclass

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.storage.store import Store


@dataclass(frozen=True)
class FoldRows:
    """All rows of a store, and what fold they are looked at in."""

    features: np.ndarray  # (row, ...)
    targets: np.ndarray  # (row, class) float32; zero for unlabelled rows
    clip_ids: np.ndarray  # (row,) str
    start: np.ndarray  # (row,) seconds
    subset: np.ndarray  # (row,) train, valid, test, or empty for rows outside the fold
    hashes: np.ndarray  # (row, 16) bytes

    def select(self, subset: str) -> np.ndarray:
        """Indices of the rows of a subset."""
        return np.flatnonzero(self.subset == subset)

    def clip_index(self, rows: np.ndarray) -> np.ndarray:
        """A number for the clip of each of these rows."""
        return np.unique(self.clip_ids[rows], return_inverse=True)[1]


def load(store: Store, fold: int) -> FoldRows:
    """The rows of a store as a fold sees them; UsageError for a fold that does not exist.

    A set without folds (a challenge's evaluation set, say) is there to be tested: all its rows are test rows.
    """
    mixed_fold = store.manifest.get("fold")
    if mixed_fold is not None and mixed_fold != fold:
        raise UsageError(f"{store.directory}: holds mixed training rows of fold {mixed_fold}, not of fold {fold}")
    columns = store.columns("clip_id", "start", "array", "target", "subset", "row_hash")
    if not columns:
        raise DataError(f"{store.directory}: holds no rows")
    ids = columns["clip_id"]
    unique, inverse = np.unique(ids, return_inverse=True)
    if "target" in columns:
        targets, subset = columns["target"], columns["subset"]
    else:
        of_clip = store.tables.subset_of(fold) if store.tables.folds else dict.fromkeys(unique.tolist(), "test")
        targets = store.tables.targets(unique)[inverse]
        subset = np.array([of_clip.get(clip_id, "") for clip_id in unique])[inverse]
    return FoldRows(columns["array"], targets, ids, columns["start"], subset, columns["row_hash"])
