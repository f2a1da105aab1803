"""svm: a calibrated support vector machine on embeddings, in the place of the network's output layer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asctool import registry
from asctool.classifiers import calibrated
from asctool.errors import DataError, UsageError
from asctool.storage import arrays, atomic, manifest, settings
from asctool.storage.manifest import Recipe
from asctool.storage.store import Columns, Store, check_output, write_rows

VERSION = 1
MODEL = "svm.h5"


@dataclass(frozen=True)
class Settings:
    """Platt's calibration: on scores of folds inside the training subset."""

    calibration_folds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.calibration_folds < 2:
            raise UsageError(f"calibration_folds={self.calibration_folds}: two at least")


def configure(kernel: str, values: dict[str, Any]) -> tuple[Settings, Any]:
    """The settings of the stage and of a kernel, from one mapping of names."""
    own, config = settings.split(values, Settings, registry.load("classifiers", kernel).Config)
    return own, config


def svm(
    embeddings: Path,
    output: Path,
    kernel: str,
    own: Settings,
    config: Any,
    fold: int | None = None,
    system: str | None = None,
    force: bool = False,
) -> bool:
    """Fit on the original training rows, write posteriors of validation and test rows; False when they are there.

    The fold is that of the run that made the embeddings; ``fold`` is for a network trained on nothing here.
    """
    check_output(output, embeddings)
    store = Store(embeddings, "embedding")
    fold = _fold_of(store, fold)
    columns = store.columns("clip_id", "start", "array", "subset")
    subset = columns["subset"] if "subset" in columns else _subsets(store, columns["clip_id"], fold)
    name = system or f"{store.manifest['systems'][0]} svm"
    options = {"kernel": kernel, "fold": fold, "system": name, **settings.as_dict(own), **settings.as_dict(config)}
    recipe = Recipe("posterior", "svm", VERSION, options, {"embeddings": store.content, "labels": _labels_hash(store)})
    if manifest.settled(output, recipe, force):
        return False
    train = _training_rows(store, columns["clip_id"], subset)
    targets, groups = _targets_and_groups(store, columns["clip_id"][train])
    model = calibrated.fit(
        columns["array"][train],
        targets,
        groups,
        len(store.tables.classes),
        kernel,
        config,
        own.seed,
        own.calibration_folds,
    )
    with atomic.writer_lock(output):
        wanted = np.flatnonzero((subset == "valid") | (subset == "test"))
        out = _rows(columns, wanted, calibrated.predict(model, columns["array"][wanted]), fold, subset, name)
        protocol = {**next(iter(store.manifest.get("protocol", {"": {}}).values())), "kernel and C": "given"}
        write_rows(
            output,
            recipe,
            store.tables,
            out,
            {MODEL: arrays.encode(model)},
            axes=["row", "class"],
            level="segment",
            fold=fold,
            systems=[name],
            protocol={name: protocol},
            paths={"embeddings": manifest.relative(embeddings, output)},
        )
    return True


def _fold_of(store: Store, fold: int | None) -> int:
    own = store.manifest.get("fold")
    if own is None and fold is None:
        raise UsageError(f"{store.directory}: belongs to no fold; give --fold")
    if own is not None and fold not in (None, own):
        raise UsageError(
            f"{store.directory}: comes from a network trained on fold {own}; --fold {fold} would mix folds"
        )
    return int(own if own is not None else fold)  # type: ignore[arg-type]


def _subsets(store: Store, clip_ids: np.ndarray, fold: int) -> np.ndarray:
    of_clip = store.tables.subset_of(fold)
    return np.array([of_clip.get(clip_id, "") for clip_id in clip_ids])


def _labels_hash(store: Store) -> str:
    clips = store.tables.clips
    return manifest.content_hash(*store.tables.classes, *(f"{c.clip_id} {c.labels} {c.group}" for c in clips))


def _training_rows(store: Store, clip_ids: np.ndarray, subset: np.ndarray) -> np.ndarray:
    """The original training rows: a varied copy is left to the network."""
    by_id = store.tables.by_id
    original = np.array([not by_id[clip_id].is_copy for clip_id in clip_ids])
    train = np.flatnonzero((subset == "train") & original)
    if not len(train):
        raise DataError(f"{store.directory}: holds no original training rows")
    return train


def _targets_and_groups(store: Store, clip_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    by_id = store.tables.by_id
    several = [clip_id for clip_id in dict.fromkeys(clip_ids.tolist()) if len(by_id[clip_id].labels) != 1]
    if several:
        raise DataError(
            f"{store.directory}: an SVM takes one label a clip; {several[0]} has {len(by_id[several[0]].labels)}"
        )
    index = {name: i for i, name in enumerate(store.tables.classes)}
    targets = np.array([index[by_id[clip_id].labels[0]] for clip_id in clip_ids])
    groups = np.unique([by_id[clip_id].group for clip_id in clip_ids], return_inverse=True)[1]
    return targets, groups


def _rows(
    columns: Columns, wanted: np.ndarray, posteriors: np.ndarray, fold: int, subset: np.ndarray, system: str
) -> Columns:
    return {
        "clip_id": columns["clip_id"][wanted],
        "start": columns["start"][wanted],
        "array": posteriors.astype(np.float32),
        "fold": np.full(len(wanted), fold, np.int32),
        "subset": subset[wanted],
        "system": np.full(len(wanted), system),
    }
