"""What a fold gives to train on: its rows, and what the options put beside them or in the place of their labels."""

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from asctool import models, registry
from asctool.errors import DataError, UsageError
from asctool.storage import rows
from asctool.storage.store import Store
from asctool.storage.tags import Tags, tagged_as
from asctool.training.examples import Examples

SUBSETS = ("train", "valid", "test")
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class Given:
    """Rows of a fold with their targets, and what stands beside them: tags (row, label) or heads (row,)."""

    rows: rows.FoldRows
    beside: np.ndarray | None
    tags: Tags | None

    @property
    def n_tags(self) -> int:
        """Length of the tag vectors; 0 without any."""
        return len(self.tags.labels) if self.tags else 0

    def seen(self, subset: str) -> list[bytes]:
        """All that training sees of a subset, as bytes that tell whether it is the same."""
        index = self.rows.select(subset)
        parts = [self.rows.hashes[index].tobytes(), self.rows.targets[index].tobytes()]
        return parts if self.beside is None else [*parts, self.beside[index].tobytes()]

    def examples(self, subset: str) -> Examples:
        """The rows of a subset."""
        index = self.rows.select(subset)
        return Examples(
            rows.take(self.rows.features, index),
            self.rows.targets[index],
            self.rows.clip_index(index),
            None if self.beside is None else self.beside[index],
        )


def gather(
    store: Store, data: rows.FoldRows, model: str, config: Any, loss: str, tags: Tags | None, soft: Tags | None
) -> Given:
    """Join tags and soft targets to the rows of a fold; DataError where they do not belong to it."""
    if tags is not None and not models.takes_tags(config):
        raise UsageError(f"--tags: {model} takes none{' unless --set tags=... says how' * hasattr(config, 'tags')}")
    if tags is None and models.takes_tags(config):
        raise UsageError(f"{model} with tags={config.tags} needs tags: give --tags STORE")
    if loss == "kl" and soft is None and any(len(clip.labels) > 1 for clip in store.tables.clips):
        log.warning("some clips have several labels, which are taken for shares of one; loss=bce scores each by itself")
    if loss == "bce" and store.manifest.get("fold") is None:  # rows mixed by augment have targets of their own
        data = replace(data, targets=(data.targets > 0).astype(np.float32))
    heads = _heads(store, data, model)
    if soft is not None:
        data = replace(data, targets=_softened(store, data, soft, heads))
    if tags is not None:
        used = data.subset != ""
        beside = np.zeros((len(used), len(tags.labels)), np.float32)
        beside[used] = tags.rows(store.tables, data.clip_ids[used].tolist())
        return Given(data, beside, tags)
    return Given(data, heads, None)


def _softened(store: Store, data: rows.FoldRows, soft: Tags, heads: np.ndarray | None) -> np.ndarray:
    """Targets in which training clips that the tag store holds have its values in the place of their labels.

    Where some labels are of the second, doubtful kind these alone are replaced.
    """
    if soft.labels != store.tables.classes:
        raise DataError(f"{soft.directories[0]}: its labels are not the classes of {store.directory}")
    sources = np.array([tagged_as(store.tables, clip_id) for clip_id in data.clip_ids.tolist()])
    known = np.array([source in soft.of_clip for source in sources.tolist()])
    chosen = known & (data.subset == "train") & (True if heads is None else heads == 1)
    if not chosen.any():
        raise DataError(f"{soft.directories[0]}: holds no training clip of {store.directory}")
    targets = data.targets.copy()
    targets[chosen] = [soft.of_clip[source] for source in sources[chosen].tolist()]
    return targets


def _heads(store: Store, data: rows.FoldRows, model: str) -> np.ndarray | None:
    """The head that judges each row of a network that has several; None where the training rows are all for one.

    A clip whose column says True goes to the first head, and one without such a column too.
    """
    column = getattr(registry.load("models", model), "HEAD_COLUMN", None)
    if column is None:
        return None
    second = {clip.clip_id: clip.extra.get(column, "True") != "True" for clip in store.tables.clips}
    heads = np.array([second[clip_id] for clip_id in data.clip_ids.tolist()], np.int64)
    return heads if len(set(heads[data.select("train")].tolist())) > 1 else None
