"""What a run or a result stands on: followed from posteriors to SVMs to embeddings to runs, by path and content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import AsctoolError, DataError, IntegrityError
from asctool.storage import arrays, manifest, tags
from asctool.storage.bundle import Step
from asctool.storage.run import Run
from asctool.storage.store import Store

KINDS = ("posterior", "tag")
SVM, FUSION = "svm.h5", "fusion.h5"  # what the stages svm and fuse keep their models in


@dataclass
class Lineage:
    """Runs, and the steps that lead from them to what was asked for; ``arrays`` by step, as in a bundle."""

    classes: tuple[str, ...] = ()
    runs: list[Run] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    results: list[int] = field(default_factory=list)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    taggers: dict[int, tuple[int, ...]] = field(default_factory=dict)  # runs whose tags stand beside a run's rows

    def place(self, run: Run) -> int:
        """Where a run stands among the runs; at their end if it is not there yet."""
        known = [other.directory.resolve() for other in self.runs]
        if run.directory.resolve() in known:
            return known.index(run.directory.resolve())
        self.runs.append(run)
        return len(known)

    def add(self, step: Step, model: Mapping[str, np.ndarray] | None = None) -> int:
        """Its place."""
        place = len(self.steps)
        self.steps.append(step)
        self.arrays |= {f"{step.do}/{place}/{name}": value for name, value in (model or {}).items()}
        return place


def collect(directories: Sequence[Path]) -> Lineage:
    """What runs and posteriors stand on; DataError where that is not there, IntegrityError where it is not the same."""
    found = Lineage()
    for directory in directories:
        found.results.append(_follow(found, directory, ()))
    return found


def _follow(found: Lineage, directory: Path, above: tuple[Path, ...]) -> int:
    """The place of the step that gives what an artifact holds."""
    if directory.resolve() in above:
        raise IntegrityError(f"{directory}: says that it was made from itself")
    described = manifest.read(directory)
    if described["kind"] == "run":
        run = Run(directory)
        name = f"{run.config['model']} {run.config['features']['type']} softmax"
        return _network(found, run, "network", name)
    if described["kind"] not in KINDS:
        raise DataError(
            f"{directory}: is of kind {described['kind']!r}; give a run, what svm or fuse wrote, or a bundle"
        )
    store = Store(directory, *KINDS)
    _same_classes(found, tuple(store.manifest.get("labels", store.tables.classes)), directory)
    follow = {"extract": _extracted, "svm": _svm, "fuse": _fused}.get(described["stage"])
    if follow is None:
        raise DataError(f"{directory}: came from {described['stage']}, which keeps no model")
    return follow(found, store, (*above, directory.resolve()))


def _extracted(found: Lineage, store: Store, above: tuple[Path, ...]) -> int:
    rule = "mean" if store.kind == "tag" else ""  # of a clip's segments, as extract joins them to tags
    return _network(found, _run_of(store), "network", str(store.manifest["systems"][0]), rule=rule)


def _svm(found: Lineage, store: Store, above: tuple[Path, ...]) -> int:
    embeddings = _open(store, "embeddings", lambda path: Store(path, "embedding"))
    if embeddings.manifest["stage"] != "extract":
        raise DataError(f"{embeddings.directory}: came from {embeddings.manifest['stage']}, which keeps no model")
    if "run" not in embeddings.manifest["inputs"]:
        raise DataError(f"{embeddings.directory}: came from a network of Hugging Face, which is not followed")
    model = dict(_model(store, SVM))
    kernel = bytes(np.asarray(model.pop("kernel", b"")).item()).decode("ascii", "replace")
    return _network(found, _run_of(embeddings), "svm", str(store.manifest["systems"][0]), kernel, model, store)


def _fused(found: Lineage, store: Store, above: tuple[Path, ...]) -> int:
    of = []
    for name in _fused_names(store):
        part = _open(store, name, lambda path: Store(path, *KINDS))
        of.append(_follow(found, part.directory, above))
    model = _model(store, FUSION) if FUSION in store.manifest["files"] else None
    config = store.config
    return found.add(Step("fuse", config["system"], of=tuple(of), rule=config["rule"], level=config["level"]), model)


def _fused_names(store: Store) -> list[str]:
    """How its manifest calls what a store was fused of, in order."""
    given = (name for name in store.manifest["inputs"] if name.startswith("posteriors "))
    return sorted(given, key=lambda name: int(name.split()[-1]))


def _network(
    found: Lineage,
    run: Run,
    do: str,
    system: str,
    kernel: str = "",
    model: Mapping[str, np.ndarray] | None = None,
    store: Store | None = None,
    rule: str = "",
) -> int:
    _same_classes(found, tuple(run.config["classes"]), run.directory)
    place = found.place(run)
    if "tags" in run.config and place not in found.taggers:
        found.taggers[place] = _taggers(found, run)
    fold = (store.manifest.get("fold") if store else None) or run.config["fold"]
    return found.add(Step(do, system, network=place, fold=int(fold), kernel=kernel, rule=rule), model)


def _taggers(found: Lineage, run: Run) -> tuple[int, ...]:
    """The runs whose tags a run had beside its rows."""
    names = [name for name in run.manifest.get("paths", {}) if name.startswith(tags.TAGS)]
    if not names:
        raise DataError(f"{run.directory}: does not say where its tags came from, as older ones; train it with --force")
    runs = [tagger for name in names for tagger in _who_tagged(_open(run, name, _tag_store))]
    for tagger in runs:
        if "tags" in tagger.config:
            raise DataError(f"{tagger.directory}: takes tags itself, which is not followed")
    return tuple(dict.fromkeys(map(found.place, runs)))


def _who_tagged(store: Store) -> list[Run]:
    """The runs that tagged clips: one, or several whose tags were fused by their mean."""
    if "run" in store.manifest["inputs"]:
        return [_run_of(store)]
    if store.manifest["stage"] != "fuse":
        raise DataError(f"{store.directory}: is by no network of asctool, so that nothing here tags new recordings")
    if store.config["rule"] != "mean":
        raise DataError(f"{store.directory}: was fused by {store.config['rule']}; new recordings get the mean of tags")
    return [run for name in _fused_names(store) for run in _who_tagged(_open(store, name, _tag_store))]


def _tag_store(path: Path) -> Store:
    return Store(path, "tag")


def _run_of(store: Store) -> Run:
    return _open(store, "run", Run)


def _open(store: Store | Run, name: str, opened: Any) -> Any:
    """An input of an artifact, where its manifest says that it lies; its content must be what that was made from."""
    path = store.directory.resolve().parent / str(store.manifest.get("paths", {}).get(name, ""))
    try:
        artifact = opened(path)
    except AsctoolError as error:
        raise type(error)(f"{store.directory}: was made from what cannot be used: {error}") from error
    if artifact.content != (store.manifest.get("contents", {}) | store.manifest["inputs"]).get(name):
        again = "train it again with --force" if isinstance(store, Run) else "run both again"
        raise IntegrityError(f"{path}: is not what {store.directory} was made from: it was made anew since; {again}")
    return artifact


def _model(store: Store, name: str) -> dict[str, np.ndarray]:
    try:
        return arrays.decode(store.read_file(name))
    except IntegrityError as error:
        raise IntegrityError(f"{store.directory / name}: {error}") from error


def _same_classes(found: Lineage, classes: tuple[str, ...], directory: Path) -> None:
    if found.classes and found.classes != classes:
        raise DataError(f"{directory}: its classes are not those of what was given before it")
    found.classes = classes
