"""The rows of a feature store that one fold uses: which are training rows, their targets, their clips."""

from dataclasses import dataclass

import numpy as np

from asctool.errors import DataError, UsageError
from asctool.storage import streaming
from asctool.storage.shards import Columns
from asctool.storage.store import Store
from asctool.storage.streaming import StreamedRows

RESIDENT_BYTES = 4 << 30  # stores larger than this stay on disk
STREAM = ("auto", "yes", "no")
NAMES = ("clip_id", "start", "target", "subset", "row_hash")


@dataclass(frozen=True)
class FoldRows:
    """All rows of a store, and what fold they are looked at in."""

    features: np.ndarray | StreamedRows  # (row, channel, band, frame); of waveforms (row, channel, sample)
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


def take(features: np.ndarray | StreamedRows, rows: np.ndarray) -> np.ndarray | StreamedRows:
    """Some of the rows; those that stay on disk stay there."""
    return features.subset(rows) if isinstance(features, StreamedRows) else features[rows]


def stays_on_disk(store: Store, stream: str) -> bool:
    """Whether rows are read batch by batch: ``yes``, ``no``, or ``auto``, by the size of the store."""
    if stream not in STREAM:
        raise UsageError(f"--stream {stream}: give auto, yes or no")
    return stream == "yes" or (stream == "auto" and streaming.n_bytes(store) > RESIDENT_BYTES)


def load(store: Store, fold: int, stream: str = "no") -> FoldRows:
    """The rows of a store as a fold sees them; UsageError for a fold that does not exist.

    With ``stream`` (``auto``: where the store is large) their features stay on disk. DataError for waveforms of unequal
    lengths. A set without folds (a challenge's evaluation set, say) is there to be tested: all its rows are test rows.
    """
    mixed_fold = store.manifest.get("fold")
    if mixed_fold is not None and mixed_fold != fold:
        raise UsageError(f"{store.directory}: holds mixed training rows of fold {mixed_fold}, not of fold {fold}")
    features: np.ndarray | StreamedRows
    if stays_on_disk(store, stream):
        columns, features = streaming.open_rows(store, NAMES)
    else:
        columns, features = _in_memory(store)
    ids = columns["clip_id"]
    unique, inverse = np.unique(ids, return_inverse=True)
    if "target" in columns:
        targets, subset = columns["target"], columns["subset"]
    else:
        of_clip = store.tables.subset_of(fold) if store.tables.folds else dict.fromkeys(unique.tolist(), "test")
        targets = store.tables.targets(unique)[inverse]
        subset = np.array([of_clip.get(clip_id, "") for clip_id in unique])[inverse]
    return FoldRows(features, targets, ids, columns["start"], subset, columns["row_hash"])


def _in_memory(store: Store) -> tuple[Columns, np.ndarray]:
    columns = store.columns(*NAMES, "array", "length")
    if not columns:
        raise DataError(f"{store.directory}: holds no rows")
    array = columns.pop("array")
    if store.kind != "waveform":
        return columns, array
    lengths = np.unique(columns.pop("length"))
    if len(lengths) > 1:
        raise streaming.unequal(store, lengths.tolist())
    return columns, array.reshape(len(columns["clip_id"]), int(lengths[0]), -1).transpose(0, 2, 1)
