"""What safety costs: verifying beside an epoch of training, the atomic writer beside a plain write; seconds."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from asctool.storage import atomic, locks, manifest
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import Store, write_rows

ROWS, SHAPE = 1200, (1, 64, 80)  # as log-mel features of ESC-10 have: 25 MB
MEGABYTES = 16


def timed(action: Callable[[], object], times: int) -> float:
    """The quickest of some tries, seconds: others who use the machine only ever take time."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(time.perf_counter() - began)
    return min(taken)


def verifying(folder: Path, times: int) -> tuple[float, float]:
    """What reading a feature store takes longer with its hashes than without, and an epoch of a CNN."""
    path = folder / "features"
    _write_features(path)

    def read(verify: bool) -> Callable[[], object]:
        def action() -> object:
            manifest._verified.clear()  # as a process begins
            return Store(path, verify=verify).columns("array")

        return action

    read(True)()
    return max(0.0, timed(read(True), times) - timed(read(False), times)), timed(_epoch(path), 2)


def writing(folder: Path, times: int) -> tuple[float, float]:
    """A plain write that is synced, and the atomic writer."""
    data = np.random.default_rng(0).bytes(MEGABYTES << 20)

    def plain() -> None:
        with (folder / "plain").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    return timed(plain, times), timed(lambda: atomic.write_bytes(folder / "whole", data), times)


def _write_features(path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = tuple(Clip(f"clip {i:04d}", f"{i}.wav", ("abc"[i % 3],), f"{i}", 1.0) for i in range(ROWS))
    folds = tuple(FoldRow(1, clip.clip_id, "train") for clip in clips)
    columns = {
        "clip_id": np.array([clip.clip_id for clip in clips]),
        "start": np.zeros(ROWS),
        "array": rng.normal(size=(ROWS, *SHAPE)).astype(np.float32),
    }
    with locks.writer_lock(path):
        recipe = Recipe("feature", "featurize", 1, {"type": "logmel"}, {})
        write_rows(path, recipe, Tables(clips, folds, ("a", "b", "c")), columns)


def _epoch(path: Path) -> Callable[[], object]:
    """An epoch of the CNN of Phan 2019, the quickest of the networks, as `train` does it."""
    import torch

    from asctool import models
    from asctool.models._layers import InputShape
    from asctool.storage import rows
    from asctool.training import devices
    from asctool.training.examples import Examples, normalization_of
    from asctool.training.settings import Settings
    from asctool.training.trainer import Trainer

    devices.use_all_cores()
    data = rows.load(Store(path), 1)
    network = models.build("cnn", {}, InputShape.of(SHAPE), 3)
    examples = Examples(data.features, data.targets, np.arange(ROWS))
    made = Settings(epochs=100, batch_size=100, learning_rate=1e-4)
    return Trainer(network, examples, normalization_of(data.features), made, torch.device("cpu")).run_epoch
