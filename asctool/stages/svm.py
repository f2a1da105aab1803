"""svm: a calibrated support vector machine on embeddings, in the place of the network's output layer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from asctool import registry
from asctool.classifiers import calibrated, tuning
from asctool.errors import AsctoolError, DataError, UsageError
from asctool.storage import arrays, locks, manifest, rebuild, settings
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.shards import Columns
from asctool.storage.store import Store, check_output, write_rows

VERSION = 1
MODEL = "svm.h5"


@dataclass(frozen=True)
class Settings:
    """Platt's calibration, on scores of folds inside the training subset; what ``--tune`` chooses from."""

    calibration_folds: int = 3
    tune_kernels: tuple[str, ...] = ("linear", "rbf", "sigmoid")
    tune_c: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0)
    tune_folds: int = 3  # inside the training subset, where there are no validation rows
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("calibration_folds", "tune_folds"):
            if getattr(self, name) < 2:
                raise UsageError(f"{name}={getattr(self, name)}: two at least")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed}: 0 at least")
        if not self.tune_kernels or not self.tune_c or not all(c > 0 for c in self.tune_c):
            raise UsageError("tune_kernels and tune_c: one of each at least, every c above 0")


def configure(kernel: str, values: dict[str, Any]) -> tuple[Settings, Any]:
    """The settings of the stage and of a kernel, from one mapping of names."""
    own, config = settings.split(values, Settings, registry.load("classifiers", kernel).Config)
    return own, config


def candidates(own: Settings, kernel: str | None, config: Any) -> tuple[tuning.Candidate, ...]:
    """What ``--tune`` chooses from: each C with each kernel, or with the one that is given and configured."""
    if kernel is not None:
        return tuple(tuning.Candidate(kernel, replace(config, c=c)) for c in own.tune_c)
    configs = {name: registry.load("classifiers", name).Config() for name in own.tune_kernels}
    return tuple(tuning.Candidate(name, replace(found, c=c)) for name, found in configs.items() for c in own.tune_c)


def svm(
    embeddings: Path,
    output: Path,
    kernel: str,
    own: Settings,
    config: Any,
    fold: int | None = None,
    system: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    tune: Sequence[tuning.Candidate] = (),
    verify: bool = True,
) -> bool:
    """Fit on the original training rows, write posteriors of validation and test rows; False when they are there.

    With ``tune`` the best of these takes the place of ``kernel`` and ``config``: on validation rows where there are
    any, else on grouped folds inside the training subset; never on test rows.

    The fold is that of the run that made the embeddings; ``fold`` is for a network trained on nothing here.
    """
    check_output(output, embeddings)
    store = Store(embeddings, "embedding", verify=verify)
    fold = _fold_of(store, fold)
    columns = store.columns("clip_id", "start", "array", "subset")
    subset = columns["subset"] if "subset" in columns else _subsets(store, columns["clip_id"], fold)
    name = system or f"{store.manifest['systems'][0]} svm"
    recipe = _recipe(store, kernel, own, config, fold, name, tune)
    largest = "rbf" if tune else kernel
    if rebuild.settled(output, recipe, force, dry_run, lambda: _estimate(store, columns, subset, largest, name)):
        return False
    fitted = _fit(store, columns, subset, kernel, own, config, tune)
    with locks.writer_lock(output):
        if rebuild.settled(output, recipe, force):
            return False  # by somebody else, meanwhile
        wanted = np.flatnonzero((subset == "valid") | (subset == "test"))
        out = _rows(columns, wanted, calibrated.predict(fitted.model, columns["array"][wanted]), fold, subset, name)
        protocol = next(iter(store.manifest.get("protocol", {"": {}}).values()))
        write_rows(
            *(output, recipe, store.tables, out, {MODEL: arrays.encode(fitted.model)}),
            axes=["row", "class"],
            level="segment",
            fold=fold,
            systems=[name],
            protocol={name: {**protocol, "kernel and C": fitted.chosen_on}},
            **fitted.tuned,
            paths={"embeddings": manifest.relative(embeddings, output)},
        )
    return True


def _recipe(
    store: Store, kernel: str, own: Settings, config: Any, fold: int, name: str, tune: Sequence[tuning.Candidate]
) -> Recipe:
    options = {"fold": fold, "system": name, "calibration_folds": own.calibration_folds, "seed": own.seed}
    if tune:
        tried = [f"{one.kernel} {settings.as_dict(one.config)}" for one in tune]
        options |= {"tune": tried, "tune_folds": own.tune_folds}
    else:
        options |= {"kernel": kernel, **settings.as_dict(config)}
    inputs = {"embeddings": store.content, "tables": manifest.hash_tables(store.tables)}
    return Recipe("posterior", "svm", VERSION, options, inputs)


@dataclass(frozen=True)
class _Fitted:
    """A machine, on what its kernel and C were chosen, and what the manifest says of the choice."""

    model: dict[str, np.ndarray]
    chosen_on: str
    tuned: dict[str, Any]


def _fit(
    store: Store,
    columns: Columns,
    subset: np.ndarray,
    kernel: str,
    own: Settings,
    config: Any,
    tune: Sequence[tuning.Candidate],
) -> _Fitted:
    train = _training_rows(store, columns["clip_id"], subset)
    features, (targets, groups) = columns["array"][train], _targets_and_groups(store, columns["clip_id"][train])
    n_classes = len(store.tables.classes)
    tuned: dict[str, Any] = {}
    chosen_on = "given"
    if tune:
        judged = _judging_rows(store, columns, subset)
        choice = tuning.tune(features, targets, groups, n_classes, tune, own.seed, own.tune_folds, judged)
        kernel, config, chosen_on = choice.best.kernel, choice.best.config, "valid" if judged else "train folds"
        tuned = _described(choice, tune)
    model = calibrated.fit(features, targets, groups, n_classes, kernel, config, own.seed, own.calibration_folds)
    return _Fitted(model, chosen_on, tuned)


def apply(
    embeddings: Path,
    output: Path,
    fitted: Path,
    system: str | None = None,
    force: bool = False,
    dry_run: bool = False,
    verify: bool = True,
) -> bool:
    """Write posteriors of other clips, as of an evaluation set, by the SVM that ``fitted`` holds; False when there.

    ``embeddings`` have to come from the network whose embeddings it was fitted on; DataError otherwise. All rows but
    those of training clips are written.
    """
    check_output(output, embeddings, fitted)
    store, other = Store(embeddings, "embedding", verify=verify), Store(fitted, "posterior", verify=verify)
    if MODEL not in other.manifest["files"]:
        raise DataError(f"{fitted}: holds no SVM; give what svm wrote")
    _check_network(store, other)
    fold, name = _fold_of(store, other.manifest["fold"]), system or str(other.manifest["systems"][0])
    inputs = {"embeddings": store.content, "svm": other.content, "machine": other.manifest["files"][MODEL]}
    inputs["tables"] = manifest.hash_tables(store.tables)
    recipe = Recipe("posterior", "svm", VERSION, {"fold": fold, "system": name}, inputs)
    columns = store.columns("clip_id", "start", "array", "subset")
    wanted = np.flatnonzero((columns["subset"] == "valid") | (columns["subset"] == "test"))
    if not len(wanted):
        raise DataError(f"{embeddings}: holds training rows alone")
    data = other.read_file(MODEL)
    n_bytes = len(data) + of_rows(store.tables, len(wanted), 4 * len(store.tables.classes), name)
    if rebuild.settled(output, recipe, force, dry_run, lambda: Estimate(n_bytes)):
        return False
    model = dict(arrays.decode(data))
    with locks.writer_lock(output):
        if rebuild.settled(output, recipe, force):
            return False  # by somebody else, meanwhile
        posteriors = calibrated.predict(model, columns["array"][wanted])
        write_rows(
            output,
            recipe,
            store.tables,
            _rows(columns, wanted, posteriors, fold, columns["subset"], name),
            {MODEL: data},
            axes=["row", "class"],
            level="segment",
            fold=fold,
            systems=[name],
            protocol={name: next(iter(other.manifest["protocol"].values()))},
            paths={"embeddings": manifest.relative(embeddings, output), "svm": manifest.relative(fitted, output)},
        )
    return True


def _check_network(store: Store, fitted: Store) -> None:
    """DataError unless both are of the same network, as far as the manifests lead."""
    path = fitted.directory.resolve().parent / str(fitted.manifest.get("paths", {}).get("embeddings", ""))
    try:
        known = Store(path, "embedding")
    except AsctoolError as error:
        raise DataError(f"{fitted.directory}: what it was fitted on cannot be used: {error}") from error
    if known.content != fitted.manifest["inputs"]["embeddings"]:
        raise DataError(f"{path}: is not what {fitted.directory} was fitted on: it was made anew since; run both again")
    networks = [part.manifest["inputs"].get("run", part.content) for part in (store, known)]
    if networks[0] != networks[1]:
        raise DataError(f"{store.directory}: comes from another network than {fitted.directory} was fitted on")


def _estimate(store: Store, columns: Columns, subset: np.ndarray, kernel: str, name: str) -> Estimate:
    """Of posteriors and the machine, which is a vector a class or, with a kernel, every training row at most."""
    train = _training_rows(store, columns["clip_id"], subset)
    _targets_and_groups(store, columns["clip_id"][train])  # refuses what cannot be fitted
    n_classes, dim = len(store.tables.classes), columns["array"].shape[1]
    n_rows = int(np.isin(subset, ("valid", "test")).sum())
    machine = 8 * dim * (n_classes if kernel == "linear" else len(train))
    return Estimate(of_rows(store.tables, n_rows, 4 * n_classes, name) + machine)


def _judging_rows(store: Store, columns: Columns, subset: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Features and targets of the validation rows; None without any."""
    valid = np.flatnonzero(subset == "valid")
    if not len(valid):
        return None
    return columns["array"][valid], _targets_and_groups(store, columns["clip_id"][valid])[0]


def _described(choice: tuning.Choice, tried: Sequence[tuning.Candidate]) -> dict[str, Any]:
    """What the manifest says of a choice: the accuracy of each candidate, and which one it was."""
    accuracies = [
        {"kernel": one.kernel, **settings.as_dict(one.config), "accuracy": round(accuracy, 6)}
        for one, accuracy in zip(tried, choice.accuracies)
    ]
    best = {"kernel": choice.best.kernel, **settings.as_dict(choice.best.config)}
    return {"tuning": {"chosen": best, "candidates": accuracies}}


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
