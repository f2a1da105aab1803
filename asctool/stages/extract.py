"""extract: embeddings, posteriors or attention of all rows of a fold, by a trained network."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from asctool import models, registry
from asctool.errors import DataError, UsageError
from asctool.storage import atomic, manifest, rows
from asctool.storage.manifest import Recipe
from asctool.storage.run import Run
from asctool.storage.settings import differences
from asctool.storage.store import Columns, Store, check_output, write_rows

VERSION = 1
Kinds = Literal["embedding", "posterior", "attention"]
AXES = {"embedding": ["dimension"], "posterior": ["class"], "attention": ["frame"]}


def extract(
    run_directory: Path,
    features: Path,
    output: Path,
    kind: str,
    system: str | None = None,
    device: str = "auto",
    force: bool = False,
) -> bool:
    """Write one kind of output for every row of the run's fold, marked with its subset; False when it is there."""
    check_output(output, run_directory, features)
    if kind not in AXES:
        raise UsageError(registry.unknown("kind", kind, list(AXES)))
    run, store = Run(run_directory), Store(features, "feature")
    _check_match(run, store)
    name = system or default_system(run, kind)
    config = {"kind": kind, "system": name, "fold": run.config["fold"]}
    recipe = Recipe(kind, "extract", VERSION, config, {"run": run.content, "features": store.content})
    if manifest.settled(output, recipe, force):
        return False
    with atomic.writer_lock(output):
        described = {
            "axes": ["row", *AXES[kind]],
            "fold": run.config["fold"],
            "level": "segment",
            "systems": [name],
            "protocol": {name: run.manifest["protocol"]},
            "paths": {"run": manifest.relative(run_directory, output), "features": manifest.relative(features, output)},
        }
        tables = replace(store.tables, classes=tuple(run.config["classes"]))  # an unlabelled set has none of its own
        write_rows(output, recipe, tables, _columns(run, store, cast(Kinds, kind), name, device), **described)
    return True


def default_system(run: Run, kind: str) -> str:
    """What a system is called in tables: network, feature and, for the network's own posteriors, softmax."""
    name = f"{run.config['model']} {run.config['features']['type']}"
    return f"{name} softmax" if kind == "posterior" else name


def _columns(run: Run, store: Store, kind: Kinds, system: str, device: str) -> Columns:
    import torch

    from asctool.models._layers import InputShape
    from asctool.training import checkpoint, devices, inference
    from asctool.training.examples import Normalization

    devices.use_all_cores()
    place = devices.choose(device)
    saved = checkpoint.decode(run.model(), torch.device("cpu"))
    described = json.loads(saved["description"])
    config = described["config"]
    network = models.build(config["model"], config["network"], InputShape(**described["shape"]), len(config["classes"]))
    network.load_state_dict(saved["weights"])
    data = rows.load(store, config["fold"])
    used = np.flatnonzero(data.subset != "")
    bfloat16 = devices.use_bfloat16(config["training"]["precision"], place)
    normalization = Normalization(**described["normalization"])
    array = inference.compute(devices.place(network, place), data.features[used], normalization, kind, place, bfloat16)
    return {
        "clip_id": data.clip_ids[used],
        "start": data.start[used],
        "array": array,
        "fold": np.full(len(used), config["fold"], np.int32),
        "subset": data.subset[used],
        "system": np.full(len(used), system),
    }


def _check_match(run: Run, store: Store) -> None:
    """The run's features and these must have been made alike, of the same classes."""
    changes = differences(run.config["features"], store.feature_config)
    if changes:
        raise DataError(
            f"{store.directory}: is unlike the features that {run.directory} was trained on ({'; '.join(changes)})"
        )
    if store.tables.classes and tuple(run.config["classes"]) != store.tables.classes:
        raise DataError(f"{store.directory}: its classes are not those that {run.directory} was trained on")
