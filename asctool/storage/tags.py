"""Tags of clips: what an audio tagger heard in each, joined to rows by clip id; a varied copy has its source's."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError
from asctool.storage import shards
from asctool.storage.dataset import Tables
from asctool.storage.shards import Columns
from asctool.storage.store import Store

LISTED = 5  # clips told of one by one
TAGS, SOFT_TARGETS = "tags", "soft targets"  # how manifests call what stands beside rows or in the place of labels


@dataclass(frozen=True)
class Tags:
    """Tag vectors of clips, of one tagger or of several that heard different clips."""

    directories: tuple[Path, ...]
    labels: tuple[str, ...]
    taggers: tuple[str, ...]  # hashes of what made them, sorted
    of_clip: dict[str, np.ndarray]  # clip id -> (label,) float32

    @property
    def identity(self) -> dict[str, Any]:
        """What a run remembers of its tags: tags by another tagger are no input for it."""
        return {"labels": list(self.labels), "taggers": list(self.taggers)}

    def rows(self, tables: Tables, clip_ids: Sequence[str]) -> np.ndarray:
        """Tags beside rows of these clips, (row, label) float32; DataError where clips are lacking."""
        unique, inverse = np.unique(np.asarray(clip_ids), return_inverse=True)
        sources = [tagged_as(tables, clip_id) for clip_id in unique.tolist()]
        missing = sorted({source for source in sources if source not in self.of_clip})
        if missing:
            more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
            where = ", ".join(map(str, self.directories))
            raise DataError(f"{where}: has no tags of {', '.join(missing[:LISTED])}{more}; tag the same clips")
        return np.stack([self.of_clip[source] for source in sources])[inverse]


def named(directories: Sequence[Path], soft_targets: Path | None = None) -> dict[str, Path]:
    """Tag stores by what a manifest calls them."""
    found = {f"{TAGS} {number}": path for number, path in enumerate(directories, 1)}
    return found | ({SOFT_TARGETS: soft_targets} if soft_targets else {})


def contents(stores: Mapping[str, Path]) -> dict[str, str]:
    """The content of each of these stores."""
    return {name: Store(path, "tag").content for name, path in stores.items()}


def tagged_as(tables: Tables, clip_id: str) -> str:
    """The clip whose tags a clip has: its own, or of a varied copy its source's."""
    clip = tables.by_id[clip_id]
    return clip.source_clip_id if clip.is_copy else clip_id


def load(directories: Iterable[Path]) -> Tags:
    """Read tag stores; DataError where their labels differ, a clip is tagged twice, or a value is no tag."""
    directories = tuple(directories)
    stores = [Store(directory, "tag") for directory in directories]
    labels = _labels(stores[0])
    of_clip: dict[str, np.ndarray] = {}
    for store in stores:
        if _labels(store) != labels:
            raise DataError(f"{store.directory}: its labels are not those of {directories[0]}")
        columns = store.columns("clip_id", "array")
        if not columns or columns["array"].shape[1:] != (len(labels),):
            raise DataError(f"{store.directory}: does not hold {len(labels)} values a clip")
        if not np.isfinite(columns["array"]).all() or columns["array"].min() < 0 or columns["array"].max() > 1:
            raise DataError(f"{store.directory}: holds values that are no tags (not finite, below 0 or above 1)")
        for clip_id, vector in zip(columns["clip_id"].tolist(), columns["array"].astype(np.float32)):
            if clip_id in of_clip:
                raise DataError(f"{store.directory}: clip {clip_id} is tagged twice; give its tags once")
            of_clip[clip_id] = vector
    # Of tags that came from elsewhere nothing is known but what they are.
    taggers = tuple(sorted({str(store.manifest.get("tagger", store.content)) for store in stores}))
    return Tags(directories, labels, taggers, of_clip)


def _labels(store: Store) -> tuple[str, ...]:
    """What each value of a vector stands for: the tagger's labels, or the classes of a store that has only those."""
    return tuple(store.manifest.get("labels", store.tables.classes))


def of_clips(columns: Columns) -> Columns:
    """The mean over the rows of each clip, in the order of the rows."""
    firsts = shards.first_rows(columns["clip_id"])
    counts = np.diff(np.append(firsts, len(columns["clip_id"])))
    means = np.add.reduceat(columns["array"].astype(np.float64), firsts) / counts[:, None]
    out = {name: values[firsts] for name, values in columns.items() if name != "array"}
    return out | {"start": np.zeros(len(firsts)), "array": means.astype(np.float32)}
