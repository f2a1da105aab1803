"""train: a network on the training rows of one fold, from checkpoint to checkpoint."""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asctool import models, parallel, registry
from asctool.errors import DataError, UsageError
from asctool.storage import locks, manifest, rebuild, rows, settings, tags
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate
from asctool.storage.run import KEPT, Run, RunWriter
from asctool.storage.store import Store, check_output

if TYPE_CHECKING:
    from asctool.training.given import Given

VERSION = 1
# Settings that came after runs had been made without them: at these values they are no part of a recipe. Nor is
# "capture", which like the device only says how the same is computed.
LATER = {"freeze_batchnorm": False, "sync_batchnorm": False}
CHECKPOINT_SECONDS = 20.0  # at most this much training is done again after a kill, or one epoch if that is longer


@dataclass(frozen=True)
class Plan:
    """What to train: the network by name, its configuration, the settings of the training."""

    model: str
    config: Any
    training: Any


def configure(model: str, values: dict[str, Any]) -> Plan:
    """A plan from one mapping of names: of the network's configuration and of the training settings."""
    from asctool.training.settings import Settings

    module = registry.load("models", model)
    config, training = settings.split({**module.TRAINING, **values}, module.Config, Settings)
    return Plan(model, config, training)


def train(
    features: Path,
    output: Path,
    plan: Plan,
    fold: int,
    device: str = "auto",
    monitor: bool = False,
    init_from: Path | None = None,
    force: bool = False,
    progress: parallel.Progress | None = None,
    tag_stores: Sequence[Path] = (),
    soft_targets: Path | None = None,
    stream: str = "auto",
    dry_run: bool = False,
    verify: bool = True,
) -> bool:
    """Train one network on one fold, or go on where an earlier call was stopped; False when it is trained already.

    ``monitor`` writes the test accuracy of every epoch into the history; it chooses nothing. ``tag_stores`` give each
    row the tags of its clip; ``soft_targets``, a tag store, takes the place of the labels of the clips that it holds.
    ``stream`` says whether features stay on disk: auto, yes, no; it changes no result. Without ``verify`` the features
    are not held against their hashes. Of several processes that torchrun started each computes a part of every batch.
    """
    from asctool.training import distributed

    stores = tags.named(tag_stores, soft_targets)
    check_output(output, features, *stores.values(), *([init_from] if init_from else []))
    store = Store(features, registry.load("models", plan.model).TAKES, verify=verify)
    given = _gather(store, plan, rows.load(store, fold, stream), tag_stores, soft_targets)
    recipe = _recipe(store, given, plan, fold, init_from)
    with nullcontext(distributed.ALONE) if dry_run else distributed.joined(device) as processes:
        # Of several processes one looks, and tells the others; they may be on machines that do not see the output.
        is_settled = processes.told(
            lambda: (
                b"yes"
                if rebuild.settled(output, recipe, force, dry_run, lambda: _estimate(store, given, plan, device))
                else None
            )
        )
        if is_settled:
            return False
        _check_choices(plan, device)
        from asctool.training.session import Session, Task

        task = Task(
            *(store, given, fold, plan.model, plan.config, plan.training, monitor, init_from),
            *(stores, tags.contents(stores)),
        )
        with ExitStack() as stack:
            writer = None
            if processes.is_first:
                stack.enter_context(locks.writer_lock(output))
                writer = RunWriter(output, recipe)
                if force:
                    writer.discard()
            session = Session(task, distributed.device_of(device), processes, output, writer)
            session.run(progress or parallel.Silent(), CHECKPOINT_SECONDS)
    return True


def _estimate(store: Store, given: "Given", plan: Plan, device: str) -> Estimate:
    """Of the weights that are selected, and of checkpoints: weights, the optimiser's moments, the best weights."""
    import torch

    from asctool.models._layers import InputShape

    _check_choices(plan, device)
    shape = InputShape.of(given.rows.features.shape[1:], given.n_tags)
    with torch.device("meta"):  # its sizes are all that is asked
        network = models.build(plan.model, plan.config, shape, len(store.tables.classes))
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    moments = {"sgd": int(plan.training.momentum > 0), "adam": 2, "amsgrad": 3}[plan.training.optimizer]
    copies = 1 + moments + (plan.training.select != "last")
    return Estimate(weights * (1 + KEPT * copies))


def _gather(
    store: Store, plan: Plan, data: rows.FoldRows, tag_stores: Sequence[Path], soft_targets: Path | None
) -> "Given":
    from asctool.training import given

    beside = tags.load(tag_stores) if tag_stores else None
    soft = tags.load([soft_targets]) if soft_targets else None
    return given.gather(store, data, plan.model, plan.config, plan.training.loss, beside, soft)


def _check_choices(plan: Plan, device: str) -> None:
    """A device or a way to mix that does not exist is told before anything is written."""
    from asctool.training import devices, epochs

    devices.choose(device)
    if plan.training.mix != "none":
        epochs.mixing(plan.training.mix)


def _recipe(store: Store, given: "Given", plan: Plan, fold: int, init_from: Path | None) -> Recipe:
    used = {name: given.rows.select(name) for name in ("train", "valid", "test")}
    if not len(used["train"]):
        raise DataError(f"{store.directory}: fold {fold} has no training rows")
    chosen_on = plan.training.select
    if chosen_on != "last" and not len(used[chosen_on]):
        raise UsageError(
            f"--select {chosen_on}: fold {fold} has no {chosen_on} rows (prep --valid makes validation folds)"
        )
    # The content of the test rows decides nothing unless the epoch is chosen by them, so it is no part of the recipe.
    seen = ("train", "valid", "test") if chosen_on == "test" else ("train", "valid")
    inputs = {f"{name} rows": manifest.content_hash(*given.seen(name)) for name in seen if len(used[name])}
    if init_from:
        inputs["initial weights"] = Run(init_from).content
    config = {
        "model": plan.model,
        "fold": fold,
        "classes": list(store.tables.classes),
        "network": settings.as_dict(plan.config),
        "training": _recorded(plan.training),
        "features": store.feature_config,
        **({"tags": given.tags.identity} if given.tags else {}),
    }
    return Recipe("run", "train", VERSION, config, inputs)


def _recorded(training: Any) -> dict[str, Any]:
    """The settings of a training that decide what comes of it."""
    values = settings.as_dict(training)
    return {key: value for key, value in values.items() if key != "capture" and value != LATER.get(key, (value,))}
