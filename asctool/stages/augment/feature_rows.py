"""Mixed or masked training rows of a feature store."""

from pathlib import Path

import numpy as np

from asctool import registry
from asctool.errors import DataError
from asctool.stages.augment.plan import VERSION, Plan, Rows, takes
from asctool.storage import locks, manifest, rebuild, rows
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.store import Store, write_rows
from asctool.training import varied_rows
from asctool.training.examples import normalization_of


def write_feature_rows(features: Path, output: Path, plan: Plan, fold: int, force: bool, dry_run: bool) -> bool:
    assert isinstance(plan.own, Rows)
    store = Store(features, "feature")
    ((method, config),) = plan.methods.items()
    options = {"method": method, "fold": fold, **plan.options}
    inputs = {"features": store.content, "tables": manifest.hash_tables(store.tables)}
    recipe = Recipe("feature", "augment", VERSION, options, inputs)
    if rebuild.settled(output, recipe, force, dry_run, lambda: _estimate_rows(store, plan, fold)):
        return False
    data, train = _training_rows(store, fold)
    kept = ("axes", "channels", "frame_seconds", "band_hz", "denoise", "dataset")
    described = {key: store.manifest[key] for key in kept if key in store.manifest}
    with locks.writer_lock(output):
        vary = varied_rows.mask if takes(method) == "rows" else varied_rows.mix
        module = registry.load("transforms", method)
        statistics = normalization_of(data.features[train])
        first = varied_rows.spread(len(train), plan.own.rows_per_row)
        columns = vary(module, config, data, train, first, statistics, plan.own.seed)
        normalization = {name: list(value) for name, value in vars(statistics).items()}
        more = {"fold": fold, "normalization": normalization, "feature_config": store.feature_config, **described}
        more["paths"] = {"features": manifest.relative(features, output)}
        write_rows(output, recipe, store.tables, columns, **more)
    return True


def _training_rows(store: Store, fold: int) -> tuple[rows.FoldRows, np.ndarray]:
    data = rows.load(store, fold)
    train = data.select("train")
    if not len(train):
        raise DataError(f"{store.directory}: fold {fold} has no training rows")
    return data, train


def _estimate_rows(store: Store, plan: Plan, fold: int) -> Estimate:
    assert isinstance(plan.own, Rows)
    data, train = _training_rows(store, fold)
    n_rows = len(varied_rows.spread(len(train), plan.own.rows_per_row))
    row_bytes = data.features[:1].nbytes + data.targets[:1].nbytes
    return Estimate(of_rows(store.tables, n_rows, row_bytes))
