"""extract: embeddings, posteriors or attention of all rows of a fold, or tags of all clips, by a trained network."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from asctool import parallel, registry
from asctool.errors import DataError, IntegrityError, UsageError
from asctool.storage import manifest, parts, rebuild, rows, shards, tags
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.run import MODEL, Run
from asctool.storage.settings import differences
from asctool.storage.shards import Columns, ShardWriter, Written, plan_shards
from asctool.storage.store import Store, StoreWriter, check_output

if TYPE_CHECKING:
    from asctool.training.loading import Trained

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
    scheduler: str | None = None,
    part: Part | None = None,
    progress: parallel.Progress | None = None,
) -> bool | None:
    """Write one kind of output for every row of the run's fold, marked with its subset; False when it is there.

    Of kind ``tag`` it is a row for each clip of any corpus, the mean of its segments, or of the clips that are in a
    ``subset`` of the run's fold. ``tag_stores``, ``stream`` and ``verify`` are as in training. None while parts of an
    array job that are not this one are yet to be written.
    """
    run_directory, features, output = run_directory.resolve(), features.resolve(), output.resolve()
    tag_stores = tuple(path.resolve() for path in tag_stores)  # workers may stand elsewhere
    check_output(output, run_directory, features, *tag_stores)
    _check_choices(kind, subset)
    run = Run(run_directory)
    store = Store(features, registry.load("models", run.config["model"]).TAKES, verify=verify)
    _check_match(run, store, kind)
    _tags_of(run, store, tag_stores)
    name = system or default_system(run, kind)
    config = {"kind": kind, "system": name, "fold": run.config["fold"]} | ({"subset": subset} if kind == "tag" else {})
    inputs = {"run": run.content, "features": store.content, "tables": manifest.hash_tables(store.tables)}
    if tag_stores:
        inputs["tags"] = manifest.content_hash(*(Store(path, "tag").content for path in tag_stores))
    recipe = Recipe(kind, "extract", VERSION, config, inputs)
    work = _Work(
        *(run_directory, features, tag_stores, cast(Kinds, kind), name, device, stream, subset, verify),
        all_cores=scheduler is None,
    )
    if rebuild.settled(output, recipe, force, dry_run, work.estimate, part):
        return False
    made_from = {"run": run_directory, "features": features, **tags.named(tag_stores)}
    with parts.writer(output, recipe, part):
        described: dict[str, Any] = {
            "axes": ["row", *AXES[kind]],
            "fold": run.config["fold"],
            "level": "segment",
            "systems": [name],
            "protocol": {name: run.manifest["protocol"]},
            "paths": {name: manifest.relative(path, output) for name, path in made_from.items()},
            "contents": tags.contents(tags.named(tag_stores)),
        }
        tables = replace(store.tables, classes=tuple(run.config["classes"]))  # an unlabelled set has none of its own
        if kind == "tag":
            described |= {"level": "clip", "labels": run.config["classes"], "tagger": run.content}
            if not _is_own_corpus(run, store):
                tables = store.tables
                del described["fold"]
        writer = StoreWriter(output, recipe, len(work.plan), force)
        how = parallel.How(1, scheduler, part, threads=None, progress=progress or parallel.Silent())
        inputs_of_all = (path / manifest.NAME for path in (run_directory, features, *tag_stores))
        files = (parts.mark(output, part), *inputs_of_all)
        write = partial(_write, work, writer.shards, work.plan)
        parallel.make_shards(write, writer, work.plan, f"extract {kind}", how, files)
        return parts.finish(
            output, part, len(work.plan), writer.shards.absent, lambda: writer.finish(tables, **described)
        )


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


def default_system(run: Run, kind: str) -> str:
    """What a system is called in tables: network, feature and, for the network's own posteriors, softmax."""
    name = f"{run.config['model']} {run.config['features']['type']}"
    return f"{name} softmax" if kind == "posterior" else name


def _write(work: "_Work", shards: ShardWriter, plan: Sequence[tuple[int, int]], index: int) -> Written:
    return shards.write(index, work.columns(*plan[index]))


@dataclass(frozen=True)
class _Work:
    """Makes the rows of one shard; travels to the workers of a cluster, each of which loads what it needs once."""

    run_directory: Path
    features: Path
    tag_stores: tuple[Path, ...]
    kind: Kinds
    system: str
    device: str
    stream: str
    subset: str
    verify: bool
    all_cores: bool  # or one: a cluster has a worker for each

    def __getstate__(self) -> dict[str, Any]:
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}  # nothing that was loaded

    @cached_property
    def run(self) -> Run:
        return Run(self.run_directory)

    @cached_property
    def store(self) -> Store:
        return Store(self.features, registry.load("models", self.run.config["model"]).TAKES, verify=self.verify)

    @cached_property
    def data(self) -> rows.FoldRows:
        return _rows(self.store, self.run, self.kind, self.stream, self.subset)

    @cached_property
    def used(self) -> np.ndarray:
        """The rows that something is computed for."""
        data, subset = self.data, self.subset
        used = data.subset == subset if subset != "all" else (data.subset != "") | (self.kind == "tag")
        if not used.any():
            raise DataError(f"{self.features}: holds no {subset} clips of the run's fold")
        return np.flatnonzero(used)

    @cached_property
    def firsts(self) -> np.ndarray:
        """Where in ``used`` the rows of each clip begin, and the end of the last."""
        return np.append(shards.first_rows(self.data.clip_ids[self.used]), len(self.used))

    @cached_property
    def trained(self) -> "Trained":
        """The network, on its device."""
        import torch

        from asctool.models._layers import InputShape
        from asctool.training import devices, loading

        if self.all_cores:
            devices.use_all_cores()
        else:
            torch.set_num_threads(1)
        trained = loading.load(self.run.model(), self.run_directory / MODEL)
        if trained.config != self.run.config:
            raise IntegrityError(f"{self.run_directory}: {MODEL} and the manifest are of two trainings; train it again")
        shape = self.data.features.shape[1:]
        if InputShape.of(shape, trained.shape.tags) != trained.shape:
            there, expected = (" x ".join(map(str, sizes)) for sizes in (shape, trained.shape.row))
            raise DataError(f"{self.features}: rows of {there}, where {self.run_directory} was trained on {expected}")
        return replace(trained, network=devices.place(trained.network, devices.choose(self.device)))

    @cached_property
    def beside(self) -> tags.Tags | None:
        return _tags_of(self.run, self.store, self.tag_stores)

    @cached_property
    def plan(self) -> list[tuple[int, int]]:
        """Ranges of clips that make a shard each."""
        rows_of = np.ones(len(self.firsts) - 1, int) if self.kind == "tag" else np.diff(self.firsts)
        return plan_shards([int(n) * self._row_bytes for n in rows_of])

    @cached_property
    def _row_bytes(self) -> int:
        """As many as there are values that the network gives for the first row."""
        return int(self._compute(self.used[:1]).nbytes)

    def estimate(self) -> Estimate:
        """What it will take on the disk."""
        n_rows = len(self.firsts) - 1 if self.kind == "tag" else len(self.used)
        return Estimate(of_rows(self.store.tables, n_rows, self._row_bytes, self.system), len(self.plan))

    def columns(self, first: int, end: int) -> Columns:
        """The rows of a range of clips."""
        data, used = self.data, self.used[self.firsts[first] : self.firsts[end]]
        columns = {"clip_id": data.clip_ids[used], "start": data.start[used], "array": self._compute(used)}
        if self.kind != "tag" or _is_own_corpus(self.run, self.store):
            columns |= {
                "fold": np.full(len(used), self.run.config["fold"], np.int32),
                "subset": data.subset[used],
                "system": np.full(len(used), self.system),
            }
        return tags.of_clips(columns) if self.kind == "tag" else columns

    def _compute(self, used: np.ndarray) -> np.ndarray:
        """What the network says of rows: (row, ...)."""
        from asctool.training import devices, inference

        trained, training = self.trained, self.trained.config["training"]
        place = next(trained.network.parameters()).device
        return inference.compute(
            trained.network,
            rows.take(self.data.features, used),
            trained.normalization,
            "posterior" if self.kind == "tag" and training["loss"] != "bce" else self.kind,
            place,
            devices.use_bfloat16(training["precision"], place),
            self.beside.rows(self.store.tables, self.data.clip_ids[used].tolist()) if self.beside else None,
            inference.slice_frames(training.get("crop_frames", ())),
        )


def _rows(store: Store, run: Run, kind: Kinds, stream: str, subset: str) -> rows.FoldRows:
    """The rows as the run's fold sees them; those of another corpus, which a tagger takes too, are in no fold."""
    if kind == "tag" and not _is_own_corpus(run, store):
        fold = store.tables.fold_numbers[0] if store.tables.folds else 1
        return rows.load(store, fold, stream)
    data = rows.load(store, run.config["fold"], stream)
    train = data.select("train")
    if kind != "tag" or subset not in ("all", "train"):
        return data
    if run.manifest.get("trained_rows") == manifest.content_hash(data.hashes[train].tobytes()):
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
