"""One call of train: the network and its rows, from checkpoint to checkpoint, and what is written of them."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asctool import models, parallel
from asctool.errors import IntegrityError, UsageError
from asctool.models._layers import InputShape
from asctool.storage import manifest
from asctool.storage.run import EVENTS, HISTORY, Run, RunWriter, encode_history
from asctool.storage.store import Store
from asctool.training import checkpoint, curves, devices, judging, loading, resuming, summary
from asctool.training.distributed import Processes
from asctool.training.examples import Normalization, normalization_of
from asctool.training.given import Given
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer

CARRIED = ("channels", "denoise", "dataset")  # from the features: what predict and bundle must know of them
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class Task:
    """What is trained, on what."""

    store: Store
    given: Given
    fold: int
    model: str
    config: Any  # of the network
    training: Settings
    monitor: bool  # whether test rows are looked at in every epoch
    init_from: Path | None
    tag_stores: Mapping[str, Path]  # beside its rows, or in the place of their labels
    tag_contents: Mapping[str, str]


@dataclass
class _Progress:
    """What a run has come to; part of each checkpoint."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0
    best_epoch: int = 0
    best_weights: dict[str, Any] | None = None


class Session:
    """A training under way. Of several processes the first has the writer; all go through the same epochs."""

    def __init__(
        self, task: Task, device: torch.device, processes: Processes, output: Path, writer: RunWriter | None
    ) -> None:
        devices.use_all_cores()
        self.task, self.training, self.device, self.processes = task, task.training, device, processes
        self.output, self.writer = output, writer
        self.classes = task.store.tables.classes
        self.parts = {
            name: task.given.examples(name)
            for name in ("train", "valid", "test")
            if len(task.given.rows.select(name)) and (name != "test" or task.monitor or self.training.select == "test")
        }
        known = task.store.manifest.get("normalization")  # of mixed rows: the statistics of those that were mixed
        rows = self.parts["train"]
        self.normalization = Normalization(**known) if known else normalization_of(rows.features)
        self.shape = InputShape.of(rows.features.shape[1:], task.given.n_tags)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.training.seed)
            network = models.build(task.model, task.config, self.shape, len(self.classes))
        if task.init_from:
            _initialise(network, task.init_from)
        self._say_summary(network)
        self.trainer = Trainer(network, rows, self.normalization, self.training, device, processes)
        self.progress = _Progress()

    def run(self, shown: parallel.Progress, checkpoint_seconds: float) -> None:
        """Train from the last checkpoint to the end."""
        self._resume()
        total = self.training.epochs
        shown.start(f"train {self.task.model} fold {self.task.fold}", total - self.trainer.epoch, "epochs")
        saved = time.monotonic()
        while self.trainer.epoch < total and not self._out_of_patience():
            self._epoch()
            shown.advance(1)
            if time.monotonic() - saved > checkpoint_seconds:
                self._save()
                saved = time.monotonic()
        self._save()
        if self.writer is not None:
            self._finish(self.writer)

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
                found = judging.judge(self.trainer, self.parts[name], self.normalization, bool(self.shape.tags))
                entry |= {f"{name}_{figure}": round(value, 6) for figure, value in found.items()}
        self.progress.history.append(entry)
        self._remember_best(entry)
        told = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in entry.items() if key != "epoch")
        log.info("epoch %d: %s", result.epoch, told)

    def _remember_best(self, entry: dict[str, Any]) -> None:
        chosen_on = self.training.select
        if chosen_on == "last":
            return
        figure = entry[f"{chosen_on}_clip_{'lwlrap' if self.training.loss == 'bce' else 'accuracy'}"]
        if figure > self.progress.best:
            self.progress.best = figure
            self.progress.best_epoch = entry["epoch"]
            weights = self.trainer.network.state_dict()
            self.progress.best_weights = {name: value.detach().clone() for name, value in weights.items()}

    def _out_of_patience(self) -> bool:
        patience = self.training.patience
        return bool(patience) and self.trainer.epoch - self.progress.best_epoch >= patience

    def _save(self) -> None:
        if self.writer is None:
            return
        state = {
            "trainer": self.trainer.state(),
            "progress": vars(self.progress),
            "threads": torch.get_num_threads(),
            "processes": self.processes.size,
        }
        self.writer.checkpoint(self.trainer.epoch, checkpoint.encode(state))
        self.writer.show(self._shown())

    def _shown(self) -> dict[str, bytes]:
        """What there is to look at while training goes on."""
        return {HISTORY: encode_history(self.progress.history), EVENTS: curves.events(self.progress.history)}

    def _resume(self) -> None:
        writer = self.writer
        data = self.processes.told(lambda: writer.last_checkpoint() if writer else None)
        if data is None:
            return
        try:
            state = checkpoint.decode(data, self.device)
            resuming.restore(self.trainer, state)
        except IntegrityError as error:
            raise IntegrityError(f"{self.output}: {error}; begin anew with --force") from error
        except UsageError as error:
            raise UsageError(f"{self.output}: {error}") from error
        self.progress = _Progress(**state["progress"])
        self._check_figures()
        log.info("going on after epoch %d", self.trainer.epoch)
        threads = torch.get_num_threads()
        if state["threads"] != threads:
            log.warning(
                "the checkpoint was made with %d threads, this is done with %d: sums round differently, so the weights "
                "will not equal an uninterrupted run's bit for bit",
                state["threads"],
                threads,
            )

    def _check_figures(self) -> None:
        """UsageError where test rows are looked at in every epoch and were not when this was begun, or the reverse."""
        before = any(key.startswith("test_") for key in self.progress.history[0])
        if before != ("test" in self.parts):
            begun, now = ("with", "without") if before else ("without", "with")
            raise UsageError(
                f"{self.output}: was begun {begun} --monitor test, and this is {now}: go on {begun} it, or begin anew "
                "with --force"
            )

    def _finish(self, writer: RunWriter) -> None:
        network, store = self.trainer.network, self.task.store
        if self.progress.best_weights is not None:
            network.load_state_dict(self.progress.best_weights)
        described = {
            "shape": vars(self.shape),
            "normalization": {k: list(v) for k, v in vars(self.normalization).items()},
            "protocol": self._protocol(),
            **{name: store.manifest[name] for name in CARRIED if name in store.manifest},
        }
        model = checkpoint.encode(
            {
                "weights": network.state_dict(),
                "description": json.dumps(described | {"config": writer.recipe.config}),
            }
        )
        files = {**self._shown(), "curves.png": curves.picture(self.progress.history)}
        rows = self.task.given.rows
        more = {
            "content": checkpoint.weights_hash(network),
            "trained_rows": manifest.content_hash(rows.hashes[rows.select("train")].tobytes()),
            **({"processes": self.processes.size} if self.processes.size > 1 else {}),
        }
        made_from = {"features": store.directory, **self.task.tag_stores}
        if self.task.init_from:
            made_from["initial weights"] = self.task.init_from
        where = {
            "paths": {name: manifest.relative(path, self.output) for name, path in made_from.items()},
            "contents": {"features": store.content, **self.task.tag_contents},
        }
        writer.finish(model, files, **more, **described, **where)

    def _protocol(self) -> dict[str, Any]:
        """Which subset chose the epoch: shown wherever a result of this run is shown."""
        chosen_on = self.training.select
        epoch = self.progress.best_epoch if chosen_on != "last" else self.trainer.epoch
        return {"select": chosen_on, "epoch": epoch, "epochs": self.trainer.epoch, "monitored": sorted(self.parts)}

    def _say_summary(self, network: Any) -> None:
        axes = "channel, band, frame" if self.shape.bands else "channel, sample"
        log.info("%s on rows of %s (%s), %d classes", self.task.model, self.shape.row, axes, len(self.classes))
        for layer in summary.layers(network, self.shape):
            log.info("  %-24s %-12s %-18s %9d", layer.name, layer.kind, layer.output, layer.parameters)
        among = f", the first of {self.processes.size} processes" if self.processes.size > 1 else ""
        log.info("%d parameters; %s%s", summary.n_parameters(network), self.device, among)
        counts = ", ".join(f"{len(part)} {name}" for name, part in self.parts.items())
        log.info("rows: %s", counts)


def _initialise(network: Any, run: Path) -> None:
    """Weights of another run where names and shapes agree."""
    weights = loading.weights(Run(run).model(), run)
    own = network.state_dict()
    taken = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict({**own, **taken})
    log.info("%d of %d weights taken from %s", len(taken), len(own), run)
