"""extract: embeddings, posteriors or attention of all rows of a fold, or tags of all clips, by a trained network."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from asctool import registry
from asctool.errors import DataError, IntegrityError, UsageError
from asctool.storage import atomic, manifest, rows, tags
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.run import MODEL, Run
from asctool.storage.settings import differences
from asctool.storage.store import Columns, Store, check_output, write_rows

VERSION = 1
Kinds = Literal["embedding", "posterior", "attention", "tag"]
AXES = {"embedding": ["dimension"], "posterior": ["class"], "attention": ["frame"], "tag": ["label"]}
SUBSETS = ("all", "train", "valid", "test")
log = logging.getLogger("asctool")


def extract(
    run_directory: Path,
    features: Path,
    output: Path,
    kind: str,
    system: str | None = None,
    device: str = "auto",
    force: bool = False,
    tag_stores: Sequence[Path] = (),
    stream: str = "auto",
    subset: str = "all",
    dry_run: bool = False,
    verify: bool = True,
) -> bool:
    """Write one kind of output for every row of the run's fold, marked with its subset; False when it is there.

    Of kind ``tag`` it is a row for each clip of any corpus, the mean of its segments, or of the clips that are in a
    ``subset`` of the run's fold. ``tag_stores``, ``stream`` and ``verify`` are as in training.
    """
    check_output(output, run_directory, features, *tag_stores)
    _check_choices(kind, subset)
    run = Run(run_directory)
    store = Store(features, registry.load("models", run.config["model"]).TAKES, verify=verify)
    _check_match(run, store, kind)
    beside = _tags_of(run, store, tag_stores)
    name = system or default_system(run, kind)
    config = {"kind": kind, "system": name, "fold": run.config["fold"]} | ({"subset": subset} if kind == "tag" else {})
    inputs = {"run": run.content, "features": store.content}
    if beside:
        inputs["tags"] = manifest.content_hash(*(Store(path, "tag").content for path in tag_stores))
    recipe = Recipe(kind, "extract", VERSION, config, inputs)
    estimate = partial(_estimate, run, store, cast(Kinds, kind), name, stream, subset)
    if manifest.settled(output, recipe, force, dry_run, estimate):
        return False
    with atomic.writer_lock(output):
        described: dict[str, Any] = {
            "axes": ["row", *AXES[kind]],
            "fold": run.config["fold"],
            "level": "segment",
            "systems": [name],
            "protocol": {name: run.manifest["protocol"]},
            "paths": {"run": manifest.relative(run_directory, output), "features": manifest.relative(features, output)},
        }
        columns = _columns(run, store, cast(Kinds, kind), name, device, beside, stream)
        tables = replace(store.tables, classes=tuple(run.config["classes"]))  # an unlabelled set has none of its own
        if kind == "tag":
            columns = _tags_of_clips(columns, subset, features)
            described |= {"level": "clip", "labels": run.config["classes"], "tagger": run.content}
            if not _is_own_corpus(run, store):
                tables = store.tables
                columns = {column: columns[column] for column in ("clip_id", "start", "array")}
                del described["fold"]
        write_rows(output, recipe, tables, columns, **described)
    return True


def _estimate(run: Run, store: Store, kind: Kinds, name: str, stream: str, subset: str) -> Estimate:
    """Of as many values as the network gives for the first row."""
    from asctool.training import devices, inference, loading

    data, trained = _rows(store, run, kind, stream), loading.load(run.model(), run.directory / MODEL)
    used = data.subset == subset if subset != "all" else (data.subset != "") | (kind == "tag")
    n_rows = len(np.unique(data.clip_ids[used])) if kind == "tag" else int(used.sum())
    beside = np.zeros((1, trained.shape.tags), np.float32) if trained.shape.tags else None
    first = rows.take(data.features, np.zeros(1, int))
    what = "posterior" if kind == "tag" else kind
    array = inference.compute(trained.network, first, trained.normalization, what, devices.choose("cpu"), False, beside)
    return Estimate(of_rows(store.tables, n_rows, array.nbytes, name))


def _check_choices(kind: str, subset: str) -> None:
    if kind not in AXES:
        raise UsageError(registry.unknown("kind", kind, list(AXES)))
    if subset not in SUBSETS:
        raise UsageError(registry.unknown("subset", subset, list(SUBSETS)))
    if subset != "all" and kind != "tag":
        raise UsageError(
            f"--subset {subset} is for --kind tag; a store of kind {kind} has all rows, marked with theirs"
        )


def _is_own_corpus(run: Run, store: Store) -> bool:
    """Whether the labels that a tagger knows are the classes of what it tags: then its fold means something there."""
    classes = store.tables.classes
    return not classes or tuple(run.config["classes"]) == classes


def _tags_of(run: Run, store: Store, tag_stores: Sequence[Path]) -> tags.Tags | None:
    """The tags beside the rows; DataError unless they are of their clips, by the tagger that the run knows."""
    known = run.config.get("tags")
    if known is None:
        if tag_stores:
            raise UsageError(f"--tags: {run.directory} was trained without any")
        return None
    if not tag_stores:
        raise UsageError(f"{run.directory} was trained with tags beside its rows: give --tags STORE")
    given = tags.load(tag_stores)
    if list(given.labels) != known["labels"]:
        raise DataError(f"{tag_stores[0]}: its labels are not those that {run.directory} was trained with")
    if not set(given.taggers) <= set(known["taggers"]):
        raise DataError(f"{tag_stores[0]}: is by another tagger than the tags that {run.directory} was trained with")
    tables = store.tables
    given.rows(tables, list(tables.subset_of(run.config["fold"])) if tables.folds else list(tables.by_id))
    return given


def _tags_of_clips(columns: Columns, subset: str, features: Path) -> Columns:
    """The mean over the rows of each clip, in the order of the rows; of the clips of one subset where one is named."""
    ids = columns["clip_id"]
    firsts, clip = np.unique(ids, return_index=True, return_inverse=True)[1:]
    sums = np.zeros((len(firsts), columns["array"].shape[1]))
    np.add.at(sums, clip, columns["array"])
    means = (sums / np.bincount(clip)[:, None]).astype(np.float32)
    kept = np.argsort(firsts)
    if subset != "all":
        kept = kept[columns["subset"][firsts[kept]] == subset]
    if not len(kept):
        raise DataError(f"{features}: holds no {subset} clips of the run's fold")
    out = {name: values[firsts[kept]] for name, values in columns.items() if name != "array"}
    return out | {"start": np.zeros(len(kept)), "array": means[kept]}


def default_system(run: Run, kind: str) -> str:
    """What a system is called in tables: network, feature and, for the network's own posteriors, softmax."""
    name = f"{run.config['model']} {run.config['features']['type']}"
    return f"{name} softmax" if kind == "posterior" else name


def _columns(
    run: Run, store: Store, kind: Kinds, system: str, device: str, beside: tags.Tags | None, stream: str
) -> Columns:
    from asctool.models._layers import InputShape
    from asctool.training import devices, inference, loading

    devices.use_all_cores()
    place = devices.choose(device)
    trained = loading.load(run.model(), run.directory / MODEL)
    config = trained.config
    if config != run.config:
        raise IntegrityError(f"{run.directory}: {MODEL} and the manifest are of two trainings; train it again")
    data = _rows(store, run, kind, stream)
    if InputShape.of(data.features.shape[1:], trained.shape.tags) != trained.shape:
        there = " x ".join(map(str, data.features.shape[1:]))
        expected = " x ".join(map(str, trained.shape.row))
        raise DataError(f"{store.directory}: rows of {there}, where {run.directory} was trained on {expected}")
    used = np.arange(len(data.subset)) if kind == "tag" else np.flatnonzero(data.subset != "")
    is_tagger = config["training"]["loss"] == "bce"
    array = inference.compute(
        devices.place(trained.network, place),
        rows.take(data.features, used),
        trained.normalization,
        "posterior" if kind == "tag" and not is_tagger else kind,
        place,
        devices.use_bfloat16(config["training"]["precision"], place),
        beside.rows(store.tables, data.clip_ids[used].tolist()) if beside else None,
        inference.slice_frames(config["training"].get("crop_frames", ())),
    )
    return {
        "clip_id": data.clip_ids[used],
        "start": data.start[used],
        "array": array,
        "fold": np.full(len(used), config["fold"], np.int32),
        "subset": data.subset[used],
        "system": np.full(len(used), system),
    }


def _rows(store: Store, run: Run, kind: Kinds, stream: str) -> rows.FoldRows:
    """The rows as the run's fold sees them; those of another corpus, which a tagger takes too, are in no fold."""
    if kind == "tag" and not _is_own_corpus(run, store):
        fold = store.tables.fold_numbers[0] if store.tables.folds else 1
        return rows.load(store, fold, stream)
    data = rows.load(store, run.config["fold"], stream)
    train = data.select("train")
    if kind == "tag" and run.manifest.get("trained_rows") == manifest.content_hash(data.hashes[train].tobytes()):
        log.warning(
            "%d of these rows are what %s was trained on: their tags are better than those of new clips will be; "
            "--subset test writes those of the others",
            len(train),
            run.directory,
        )
    return data


def _check_match(run: Run, store: Store, kind: str) -> None:
    """The run's features and these must have been made alike, of the same classes unless they are to be tagged."""
    if kind == "posterior" and run.config["training"]["loss"] == "bce":
        raise UsageError(f"{run.directory}: was trained with loss=bce, its labels are no distribution; use --kind tag")
    changes = differences(run.config["features"], store.feature_config)
    if changes:
        raise DataError(
            f"{store.directory}: is unlike the features that {run.directory} was trained on ({'; '.join(changes)})"
        )
    if kind != "tag" and store.tables.classes and tuple(run.config["classes"]) != store.tables.classes:
        raise DataError(f"{store.directory}: its classes are not those that {run.directory} was trained on")
