"""train: a network on the training rows of one fold, from checkpoint to checkpoint."""

import json
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asctool import models, parallel, registry
from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion
from asctool.storage import atomic, manifest, rows, settings
from asctool.storage.manifest import Recipe
from asctool.storage.run import HISTORY, Run, RunWriter, encode_history
from asctool.storage.store import Store, check_output

log = logging.getLogger("asctool")

VERSION = 1
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
) -> bool:
    """Train one network on one fold, or go on where an earlier call was stopped; False when it is trained already.

    ``monitor`` writes the test accuracy of every epoch into the history; it chooses nothing.
    """
    check_output(output, features, *([init_from] if init_from else []))
    store = Store(features, "feature")
    data = rows.load(store, fold)
    recipe = _recipe(store, data, plan, fold, init_from)
    if manifest.settled(output, recipe, force):
        return False
    _check_choices(plan, device)
    with atomic.writer_lock(output):
        writer = RunWriter(output, recipe)
        if force:
            writer.discard()
        _Session(store, data, plan, fold, device, monitor, init_from, writer).run(progress or parallel.Silent())
    return True


def _check_choices(plan: Plan, device: str) -> None:
    """A device or a way to mix that does not exist is told before anything is written."""
    from asctool.training import devices, epochs

    devices.choose(device)
    if plan.training.mix != "none":
        epochs.mixing(plan.training.mix)


def _recipe(store: Store, data: rows.FoldRows, plan: Plan, fold: int, init_from: Path | None) -> Recipe:
    used = {name: data.select(name) for name in ("train", "valid", "test")}
    if not len(used["train"]):
        raise DataError(f"{store.directory}: fold {fold} has no training rows")
    chosen_on = plan.training.select
    if chosen_on != "last" and not len(used[chosen_on]):
        raise UsageError(
            f"--select {chosen_on}: fold {fold} has no {chosen_on} rows (prep --valid makes validation folds)"
        )
    # The content of the test rows decides nothing unless the epoch is chosen by them, so it is no part of the recipe.
    seen = ("train", "valid", "test") if chosen_on == "test" else ("train", "valid")
    inputs = {
        f"{name} rows": manifest.content_hash(data.hashes[used[name]].tobytes(), data.targets[used[name]].tobytes())
        for name in seen
        if len(used[name])
    }
    if init_from:
        inputs["initial weights"] = Run(init_from).content
    config = {
        "model": plan.model,
        "fold": fold,
        "classes": list(store.tables.classes),
        "network": settings.as_dict(plan.config),
        "training": settings.as_dict(plan.training),
        "features": store.feature_config,
    }
    return Recipe("run", "train", VERSION, config, inputs)


class _Session:
    """One call of train: the network and its rows, and what is written of them."""

    def __init__(
        self,
        store: Store,
        data: rows.FoldRows,
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
        from asctool.training.examples import Examples, Normalization, normalization_of
        from asctool.training.trainer import Trainer

        devices.use_all_cores()
        self.store, self.plan, self.fold, self.writer = store, plan, fold, writer
        self.classes = store.tables.classes
        self.device = devices.choose(device)
        self.parts = {
            name: Examples(data.features[index], data.targets[index], data.clip_index(index))
            for name in ("train", "valid", "test")
            if len(index := data.select(name)) and (name != "test" or monitor or plan.training.select == "test")
        }
        given = store.manifest.get("normalization")  # of mixed rows: the statistics of those that were mixed
        training = self.parts["train"]
        self.normalization = Normalization(**given) if given else normalization_of(training.features)
        self.shape = InputShape(*training.features.shape[1:])
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
                segment, clip = self._accuracy(name)
                entry |= {f"{name}_segment_accuracy": round(segment, 6), f"{name}_clip_accuracy": round(clip, 6)}
        self.progress.history.append(entry)
        self._remember_best(entry)
        told = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in entry.items() if key != "epoch")
        log.info("epoch %d: %s", result.epoch, told)

    def _accuracy(self, name: str) -> tuple[float, float]:
        """Accuracy of segments, and of clips by the product of their segments' posteriors."""
        from asctool.training import inference

        part = self.parts[name]
        posteriors = inference.compute(
            self.trainer.network, part.features, self.normalization, "posterior", self.device, self.trainer.bfloat16
        )
        first = np.unique(part.clips, return_index=True)[1]
        clips = fusion.segments_to_clips(posteriors, part.clips, len(first), "product")
        segment = (posteriors.argmax(1) == part.classes).mean()
        return float(segment), float((clips.argmax(1) == part.classes[first]).mean())

    def _remember_best(self, entry: dict[str, Any]) -> None:
        chosen_on = self.plan.training.select
        if chosen_on == "last":
            return
        if entry[f"{chosen_on}_clip_accuracy"] > self.progress.best:
            self.progress.best = entry[f"{chosen_on}_clip_accuracy"]
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
        self.writer.show_history(self.progress.history)

    def _resume(self) -> None:
        from asctool.training import checkpoint

        data = self.writer.last_checkpoint()
        if data is None:
            return
        state = checkpoint.decode(data, self.device)
        self.trainer.restore(state["trainer"])
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
        }
        model = checkpoint.encode(
            {
                "weights": network.state_dict(),
                "description": json.dumps(described | {"config": self.writer.recipe.config}),
            }
        )
        files = {HISTORY: encode_history(self.progress.history), "curves.png": _curves(self.progress.history)}
        _write_tensorboard(self.writer.directory, self.progress.history)
        self.writer.finish(model, files, content=checkpoint.weights_hash(network), **described)

    def _protocol(self) -> dict[str, Any]:
        """Which subset chose the epoch: shown wherever a result of this run is shown."""
        chosen_on = self.plan.training.select
        epoch = self.progress.best_epoch if chosen_on != "last" else self.trainer.epoch
        return {"select": chosen_on, "epoch": epoch, "epochs": self.trainer.epoch, "monitored": sorted(self.parts)}

    def _say_summary(self, network: Any) -> None:
        from asctool.training import summary

        shape = (self.shape.channels, self.shape.bands, self.shape.frames)
        log.info("%s on rows of %s (channel, band, frame), %d classes", self.plan.model, shape, len(self.classes))
        for layer in summary.layers(network, self.shape):
            log.info("  %-24s %-12s %-18s %9d", layer.name, layer.kind, layer.output, layer.parameters)
        log.info("%d parameters; %s", summary.n_parameters(network), self.device)
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.parts.items())
        log.info("rows: %s", counts)


def _initialise(network: Any, run: Path) -> None:
    """Weights of another run where names and shapes agree."""
    import torch

    from asctool.training import checkpoint

    weights = checkpoint.decode(Run(run).model(), torch.device("cpu"))["weights"]
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
        if name.endswith("accuracy"):
            label = "training rows (mixed, if any are)" if name == "accuracy" else name.replace("_", " ")
            right.plot(epochs, [row[name] for row in history], label=label)
    right.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
    right.legend(loc="lower right", fontsize="small")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _write_tensorboard(directory: Path, history: list[dict[str, Any]]) -> None:
    import shutil

    from torch.utils.tensorboard import SummaryWriter

    folder = directory / "tensorboard"
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        for row in history:
            for name, value in row.items():
                if name != "epoch":
                    writer.add_scalar(name, value, row["epoch"])
