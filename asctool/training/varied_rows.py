"""Mixed or masked training rows of a fold as the columns of a store, with soft targets; features (row, channel, ...).

``first`` holds, in ascending order, which of the training rows each new row begins with.
"""

from typing import Any

import numpy as np

from asctool.storage.rows import FoldRows
from asctool.storage.shards import Columns
from asctool.training.examples import Normalization


def spread(n_rows: int, rows_per_row: float) -> np.ndarray:
    """Indices of the rows to begin with, in order; a share of the rows is spread over all of them."""
    n_made = max(1, round(rows_per_row * n_rows))
    return np.arange(n_made) * n_rows // n_made


def mask(
    module: Any,
    config: Any,
    data: FoldRows,
    train: np.ndarray,
    first: np.ndarray,
    statistics: Normalization,
    seed: int,
) -> Columns:
    """Each row with masks of its own; a clip's rows draw from the seed and the clip's id."""
    generators: dict[str, np.random.Generator] = {}
    masked = np.empty((len(first), *data.features.shape[1:]), data.features.dtype)
    for index, row in enumerate(train[first]):
        clip_id = str(data.clip_ids[row])
        if clip_id not in generators:
            generators[clip_id] = np.random.default_rng([seed, *clip_id.encode()])
        features = data.features[row].astype(np.float32)
        masked[index] = module.apply(features, module.draw(generators[clip_id], config, *features.shape[-2:]))
    return _columns(data, train[first], masked, data.targets[train[first]])


def mix(
    module: Any,
    config: Any,
    data: FoldRows,
    train: np.ndarray,
    first: np.ndarray,
    statistics: Normalization,
    seed: int,
) -> Columns:
    """Rows are normalised before they are mixed, since equation 10 would scale their mean, and brought back."""
    shape = (1, -1) + (1,) * (data.features.ndim - 2)
    mean = np.array(statistics.mean, np.float32).reshape(shape)
    scale = np.array(statistics.deviation, np.float32).reshape(shape)
    generator = np.random.default_rng([seed, data.targets.shape[1]])
    partner, ratio = _partners(module, config, generator, data.targets[train].argmax(1), first)
    r = ratio.reshape(-1, *[1] * (data.features.ndim - 1))
    a, b = ((data.features[train[index]].astype(np.float32) - mean) / scale for index in (first, partner))
    mixed = (module.apply(a, b, r) * scale + mean).astype(data.features.dtype)
    targets = module.apply_targets(data.targets[train[first]], data.targets[train[partner]], ratio[:, None])
    partner_ids = np.char.encode(data.clip_ids[train[partner]], "utf-8")
    return _columns(data, train[first], mixed, targets) | {"partner_clip_id": partner_ids, "ratio": ratio}


def _partners(
    module: Any, config: Any, generator: np.random.Generator, classes: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Partners and shares of these rows; a row that comes again gets another partner."""
    again = np.arange(len(first)) - np.searchsorted(first, first)
    parts = [module.draw(generator, classes, config) for _ in range(int(again.max()) + 1)]
    partners, ratios = (np.stack([getattr(part, name) for part in parts]) for name in ("partners", "ratios"))
    return partners[again, first], ratios[again, first]


def _columns(data: FoldRows, chosen: np.ndarray, array: np.ndarray, targets: np.ndarray) -> Columns:
    return {
        "clip_id": data.clip_ids[chosen],
        "start": data.start[chosen],
        "array": array,
        "target": targets.astype(np.float32),
        "subset": np.full(len(chosen), "train"),
    }
