"""augment: mixed rows of a feature store, with soft targets, from the training rows of one fold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asctool import registry
from asctool.errors import DataError, UsageError
from asctool.storage import atomic, manifest, rows, settings
from asctool.storage.manifest import Recipe
from asctool.storage.store import Columns, Store, check_output, write_rows
from asctool.training.epochs import MIXES

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """How many mixed rows are made, from what seed."""

    rows_per_row: float = 1.0  # mixed rows for each training row
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rows_per_row > 0:
            raise UsageError(f"rows_per_row={self.rows_per_row}: must be above 0")


def configure(method: str, values: dict[str, Any]) -> tuple[Settings, Any]:
    """The settings of the stage and of a transform, from one mapping of names."""
    if method not in MIXES:
        raise UsageError(registry.unknown("method", method, list(MIXES)))
    own, config = settings.split(values, Settings, registry.load("transforms", method).Config)
    return own, config


def augment(
    features: Path, output: Path, method: str, fold: int, own: Settings, config: Any, force: bool = False
) -> bool:
    """Write mixed rows of the training subset of a fold; False when they are there already.

    Rows are normalised before they are mixed, since equation 10 would scale their mean, and brought back afterwards.
    """
    check_output(output, features)
    store = Store(features, "feature")
    recipe = Recipe(
        "feature",
        "augment",
        VERSION,
        {"method": method, "fold": fold, **settings.as_dict(own), **settings.as_dict(config)},
        {"features": store.content},
    )
    if manifest.settled(output, recipe, force):
        return False
    data = rows.load(store, fold)
    train = data.select("train")
    if not len(train):
        raise DataError(f"{features}: fold {fold} has no training rows")
    with atomic.writer_lock(output):
        columns, normalization = _mix(data, train, method, own, config)
        described = {
            key: store.manifest[key]
            for key in ("axes", "channels", "frame_seconds", "band_hz")
            if key in store.manifest
        }
        write_rows(
            output,
            recipe,
            store.tables,
            columns,
            fold=fold,
            normalization=normalization,
            feature_config=store.config,
            **described,
        )
    return True


def _mix(
    data: rows.FoldRows, train: np.ndarray, method: str, own: Settings, config: Any
) -> tuple[Columns, dict[str, Any]]:
    from asctool.training.examples import normalization_of

    module = registry.load("transforms", method)
    statistics = normalization_of(data.features[train])
    shape = (1, -1) + (1,) * (data.features.ndim - 2)
    mean = np.array(statistics.mean, np.float32).reshape(shape)
    scale = np.array(statistics.deviation, np.float32).reshape(shape)
    generator = np.random.default_rng([own.seed, data.targets.shape[1]])
    first, partner, ratio = _pairs(module, generator, data.targets[train].argmax(1), own, config)
    r = ratio.reshape(-1, *[1] * (data.features.ndim - 1))
    a, b = ((data.features[train[index]].astype(np.float32) - mean) / scale for index in (first, partner))
    mixed = module.apply(a, b, r) * scale + mean
    targets = module.apply_targets(data.targets[train[first]], data.targets[train[partner]], ratio[:, None])
    columns = {
        "clip_id": data.clip_ids[train[first]],
        "partner_clip_id": np.char.encode(data.clip_ids[train[partner]], "utf-8"),
        "start": data.start[train[first]],
        "ratio": ratio,
        "array": mixed.astype(data.features.dtype),
        "target": targets.astype(np.float32),
        "subset": np.full(len(first), "train"),
    }
    return columns, {"mean": list(statistics.mean), "deviation": list(statistics.deviation)}


def _pairs(
    module: Any, generator: np.random.Generator, classes: np.ndarray, own: Settings, config: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, partners and shares, in clip order."""
    n_rows = max(1, round(own.rows_per_row * len(classes)))
    parts = [module.draw(generator, classes, config) for _ in range(-(-n_rows // len(classes)))]
    first = np.tile(np.arange(len(classes)), len(parts))[:n_rows]
    partner = np.concatenate([part.partners for part in parts])[:n_rows]
    ratio = np.concatenate([part.ratios for part in parts])[:n_rows]
    order = np.argsort(first, kind="stable")
    return first[order], partner[order], ratio[order]
