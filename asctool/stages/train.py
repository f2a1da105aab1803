"""train: a network on the training rows of one fold, from checkpoint to checkpoint."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asctool import models, parallel, registry
from asctool.errors import DataError, IntegrityError, UsageError
from asctool.evaluation import fusion, metrics
from asctool.storage import atomic, manifest, rows, settings, tags
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate
from asctool.storage.run import EVENTS, HISTORY, KEPT, Run, RunWriter, encode_history
from asctool.storage.store import Store, check_output

if TYPE_CHECKING:
    from asctool.training.given import Given

log = logging.getLogger("asctool")

VERSION = 1
CARRIED = ("channels", "denoise", "dataset")  # from the features: what predict and bundle must know of them
CHECKPOINT_SECONDS = 20.0  # at most this much training is done again after a kill, or one epoch if that is longer


@dataclass(frozen=True)
class Plan:
    """What to train: the network by name, its configuration, the settings of the training."""

    model: str
    config: Any
    training: Any


@dataclass
class _Progress:
    """What a run has come to; part of each checkpoint."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Any] | None = None


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
    are not held against their hashes.
    """
    check_output(output, features, *([init_from] if init_from else []))
    store = Store(features, registry.load("models", plan.model).TAKES, verify=verify)
    given = _gather(store, plan, rows.load(store, fold, stream), tag_stores, soft_targets)
    recipe = _recipe(store, given, plan, fold, init_from)
    if manifest.settled(output, recipe, force, dry_run, lambda: _estimate(store, given, plan, device)):
        return False
    _check_choices(plan, device)
    with atomic.writer_lock(output):
        writer = RunWriter(output, recipe)
        if force:
            writer.discard()
        _Session(store, given, plan, fold, device, monitor, init_from, writer).run(progress or parallel.Silent())
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
        "training": settings.as_dict(plan.training),
        "features": store.feature_config,
        **({"tags": given.tags.identity} if given.tags else {}),
    }
    return Recipe("run", "train", VERSION, config, inputs)


class _Session:
    """One call of train: the network and its rows, and what is written of them."""

    def __init__(
        self,
        store: Store,
        given: "Given",
        plan: Plan,
        fold: int,
        device: str,
        monitor: bool,
        init_from: Path | None,
        writer: RunWriter,
    ) -> None:
        import torch

        from asctool.models._layers import InputShape
        from asctool.training import devices
        from asctool.training.examples import Normalization, normalization_of
        from asctool.training.trainer import Trainer

        devices.use_all_cores()
        self.store, self.plan, self.fold, self.writer = store, plan, fold, writer
        self.made_from = {"features": store.directory} | ({"initial weights": init_from} if init_from else {})
        self.classes = store.tables.classes
        self.device = devices.choose(device)
        self.parts = {
            name: given.examples(name)
            for name in ("train", "valid", "test")
            if len(given.rows.select(name)) and (name != "test" or monitor or plan.training.select == "test")
        }
        known = store.manifest.get("normalization")  # of mixed rows: the statistics of those that were mixed
        training = self.parts["train"]
        self.normalization = Normalization(**known) if known else normalization_of(training.features)
        self.trained_rows = manifest.content_hash(given.rows.hashes[given.rows.select("train")].tobytes())
        self.shape = InputShape.of(training.features.shape[1:], given.n_tags)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.training.seed)
            network = models.build(plan.model, plan.config, self.shape, len(self.classes))
        if init_from:
            _initialise(network, init_from)
        self._say_summary(network)
        self.trainer = Trainer(network, training, self.normalization, plan.training, self.device)
        self.progress = _Progress()

    def run(self, shown: parallel.Progress) -> None:
        """Train from the last checkpoint to the end."""
        self._resume()
        total = self.plan.training.epochs
        shown.start(f"train {self.plan.model} fold {self.fold}", total - self.trainer.epoch, "epochs")
        saved = time.monotonic()
        while self.trainer.epoch < total and not self._out_of_patience():
            self._epoch()
            shown.advance(1)
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = time.monotonic()
        self._save()
        self._finish()

    def _epoch(self) -> None:
        began = time.perf_counter()
        result = self.trainer.run_epoch()
        entry: dict[str, Any] = {
            "epoch": result.epoch,
            "loss": round(result.loss, 6),
            "accuracy": round(result.accuracy, 6),
            "learning_rate": result.learning_rate,
            "seconds": round(time.perf_counter() - began, 3),
        }
        for name in ("valid", "test"):
            if name in self.parts:
                entry |= {f"{name}_{figure}": round(value, 6) for figure, value in self._judged(name).items()}
        self.progress.history.append(entry)
        self._remember_best(entry)
        told = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in entry.items() if key != "epoch")
        log.info("epoch %d: %s", result.epoch, told)

    def _judged(self, name: str) -> dict[str, float]:
        """Accuracy of segments, and of clips by the product of their segments; of tags lwlrap by their mean."""
        from asctool.training import inference

        part, is_tagged = self.parts[name], self.plan.training.loss == "bce"
        outputs = inference.compute(
            self.trainer.network,
            part.features,
            self.normalization,
            "tag" if is_tagged else "posterior",
            self.device,
            self.trainer.bfloat16,
            part.beside if self.shape.tags else None,
            inference.slice_frames(self.plan.training.crop_frames),
        )
        first, inverse, counts = np.unique(part.clips, return_index=True, return_inverse=True, return_counts=True)[1:]
        if is_tagged:
            clips = np.zeros((len(first), outputs.shape[1]))
            np.add.at(clips, inverse, outputs)
            found = metrics.lwlrap((part.targets[first] > 0).astype(np.int64), clips / counts[:, None])
            return {"clip_lwlrap": found.overall if any(found.labels) else 0.0}
        clips = fusion.segments_to_clips(outputs, part.clips, len(first), "product")
        segment = (outputs.argmax(1) == part.classes).mean()
        right = (clips.argmax(1) == part.classes[first]).mean()
        return {"segment_accuracy": float(segment), "clip_accuracy": float(right)}

    def _remember_best(self, entry: dict[str, Any]) -> None:
        chosen_on = self.plan.training.select
        if chosen_on == "last":
            return
        figure = entry[f"{chosen_on}_clip_{'lwlrap' if self.plan.training.loss == 'bce' else 'accuracy'}"]
        if figure > self.progress.best:
            self.progress.best = figure
            self.progress.best_epoch = entry["epoch"]
            weights = self.trainer.network.state_dict()
            self.progress.best_weights = {name: value.detach().clone() for name, value in weights.items()}

    def _out_of_patience(self) -> bool:
        patience = self.plan.training.patience
        return bool(patience) and self.trainer.epoch - self.progress.best_epoch >= patience

    def _save(self) -> None:
        from asctool.training import checkpoint

        state = {"trainer": self.trainer.state(), "progress": vars(self.progress), "threads": _threads()}
        self.writer.checkpoint(self.trainer.epoch, checkpoint.encode(state))
        self.writer.show(self._shown())

    def _shown(self) -> dict[str, bytes]:
        """What there is to look at while training goes on."""
        return {HISTORY: encode_history(self.progress.history), EVENTS: _events(self.progress.history)}

    def _resume(self) -> None:
        from asctool.training import checkpoint, resuming

        data = self.writer.last_checkpoint()
        if data is None:
            return
        try:
            state = checkpoint.decode(data, self.device)
            resuming.restore(self.trainer, state)
        except IntegrityError as error:
            raise IntegrityError(f"{self.writer.directory}: {error}; begin anew with --force") from error
        self.progress = _Progress(**state["progress"])
        log.info("going on after epoch %d", self.trainer.epoch)
        if state["threads"] != _threads():
            log.warning(
                "the checkpoint was made with %d threads, this is done with %d: sums round differently, so the weights "
                "will not equal an uninterrupted run's bit for bit",
                state["threads"],
                _threads(),
            )

    def _finish(self) -> None:
        from asctool.training import checkpoint

        network = self.trainer.network
        if self.progress.best_weights is not None:
            network.load_state_dict(self.progress.best_weights)
        described = {
            "shape": vars(self.shape),
            "normalization": {k: list(v) for k, v in vars(self.normalization).items()},
            "protocol": self._protocol(),
            **{name: self.store.manifest[name] for name in CARRIED if name in self.store.manifest},
        }
        model = checkpoint.encode(
            {
                "weights": network.state_dict(),
                "description": json.dumps(described | {"config": self.writer.recipe.config}),
            }
        )
        files = {**self._shown(), "curves.png": _curves(self.progress.history)}
        content = checkpoint.weights_hash(network)
        where = {
            "paths": {name: manifest.relative(path, self.writer.directory) for name, path in self.made_from.items()},
            "contents": {"features": self.store.content},
        }
        self.writer.finish(model, files, content=content, trained_rows=self.trained_rows, **described, **where)

    def _protocol(self) -> dict[str, Any]:
        """Which subset chose the epoch: shown wherever a result of this run is shown."""
        chosen_on = self.plan.training.select
        epoch = self.progress.best_epoch if chosen_on != "last" else self.trainer.epoch
        return {"select": chosen_on, "epoch": epoch, "epochs": self.trainer.epoch, "monitored": sorted(self.parts)}

    def _say_summary(self, network: Any) -> None:
        from asctool.training import summary

        axes = "channel, band, frame" if self.shape.bands else "channel, sample"
        log.info("%s on rows of %s (%s), %d classes", self.plan.model, self.shape.row, axes, len(self.classes))
        for layer in summary.layers(network, self.shape):
            log.info("  %-24s %-12s %-18s %9d", layer.name, layer.kind, layer.output, layer.parameters)
        log.info("%d parameters; %s", summary.n_parameters(network), self.device)
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.parts.items())
        log.info("rows: %s", counts)


def _initialise(network: Any, run: Path) -> None:
    """Weights of another run where names and shapes agree."""
    from asctool.training import loading

    weights = loading.weights(Run(run).model(), run)
    own = network.state_dict()
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict({**own, **taken})
    log.info("%d of %d weights taken from %s", len(taken), len(own), run)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _curves(history: list[dict[str, Any]]) -> bytes:
    """Loss and accuracies by epoch, as a PNG."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["loss"] for row in history])
    left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
    for name in history[0]:
        if name.endswith(("accuracy", "lwlrap")):
            label = "training rows (mixed, if any are)" if name == "accuracy" else name.replace("_", " ")
            right.plot(epochs, [row[name] for row in history], label=label)
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    right.legend(loc="lower right", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _events(history: list[dict[str, Any]]) -> bytes:
    """The history as TensorBoard reads it; of a longer one the beginning is the same, so that it follows a training.

    Its clock is the time spent on epochs: a training that goes on after a pause shows none.
    """
    import io

    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer, seconds = io.BytesIO(), 0.0
    writer = RecordWriter(buffer)
    writer.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
    for row in history:
        seconds += row["seconds"]
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "epoch"]
        event = Event(wall_time=seconds, step=row["epoch"], summary=Summary(value=values))
        writer.write(event.SerializeToString())
    return buffer.getvalue()
