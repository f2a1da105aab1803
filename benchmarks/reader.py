"""``python -m benchmarks.reader``: how fast rows come from disk, at what memory, and what that costs training.

Made waveforms of ten seconds, 48 kHz, stereo, int16, in files that lie in the page cache. Processor seconds (of all
threads) stand beside those of the clock, and the load of the machine beside both: on a busy machine the former tell
more. Training: the paper's raw_resnet, and one of few filters, where reading weighs as much as it can; epochs from
memory and from disk in turn, batches of the paper's size with mixup, which reads every row and its partner.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from asctool import models
from asctool.models._layers import InputShape
from asctool.storage import locks, rows, streaming
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.shards import plan_shards
from asctool.storage.store import Store, StoreWriter
from asctool.training import batches
from asctool.training.examples import Examples, Normalization
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer
from benchmarks.rows import machine

RATE, SAMPLES, CHANNELS, BATCH = 48_000, 480_000, 2, 24
CPU = torch.device("cpu")
NETWORKS = {"train": (128, 2), "train-few": (8, 6)}  # filters, and batches of an epoch
LEAST_A_MINUTE, MOST_GIGABYTES, MOST_RATIO = 15_000, 1.0, 1.05  # what was asked of it beforehand


def make_store(directory: Path, n_segments: int) -> None:
    """Noise, shifted for each segment; a shard after the other."""
    noise = np.random.default_rng(0).integers(-9999, 9999, (SAMPLES, CHANNELS)).astype(np.int16)
    clips = tuple(Clip(f"c{i:05d}", "none.wav", (f"l{i % 10}",), f"g{i}", 10.0) for i in range(n_segments))
    folds = tuple(FoldRow(1, clip.clip_id, "train") for clip in clips)
    plan = plan_shards([noise.nbytes] * n_segments)
    recipe = Recipe("waveform", "featurize", 1, {"type": "waveform", "sample_rate": RATE}, {})
    with locks.writer_lock(directory):
        writer = StoreWriter(directory, recipe, len(plan))
        for index, (first, end) in enumerate(plan):
            columns = {
                "clip_id": np.array([clip.clip_id for clip in clips[first:end]]),
                "start": np.zeros(end - first),
                "array": np.concatenate([np.roll(noise, 977 * i, 0) for i in range(first, end)]),
                "offset": SAMPLES * np.arange(end - first),
                "length": np.full(end - first, SAMPLES),
            }
            writer.add(index, writer.shards.write(index, columns))
        writer.finish(Tables(clips, folds, tuple(f"l{i}" for i in range(10))))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processors."""
    wall, processors = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processors


def read(directory: Path, repeats: int) -> None:
    """Print segments a minute by the clock and the processors: all of them, shuffled, in batches."""
    features = rows.load(Store(directory), 1, "yes").features
    order = np.random.default_rng(1).permutation(len(features))
    ranges = [(first, min(first + BATCH, len(order))) for first in range(0, len(order), BATCH)]
    source = batches.source(features, CPU)
    for _ in range(repeats + 1):  # the first brings the files into the page cache
        wall, processors = timed(lambda: [None for _ in source(order, None, ranges)])
        print(60 * len(order) / wall, 60 * len(order) / processors, flush=True)


def train(directory: Path, repeats: int, what: str) -> None:
    """Print seconds of an epoch by the clock and the processors, from memory and from disk in turn."""
    trainers = [_trainer(directory, stream, *NETWORKS[what]) for stream in ("no", "yes")]
    for _ in range(repeats + 1):  # in the first everything is new
        print(*(seconds for trainer in trainers for seconds in timed(trainer.run_epoch)), flush=True)


def _trainer(directory: Path, stream: str, filters: int, n_batches: int) -> Trainer:
    data = rows.load(Store(directory), 1, stream)
    chosen = np.arange(min(n_batches * BATCH, len(data.clip_ids)))
    examples = Examples(rows.take(data.features, chosen), data.targets[chosen], data.clip_index(chosen))
    torch.manual_seed(0)
    network = models.build("raw_resnet", {"filters": filters, "heads": 2}, InputShape(CHANNELS, 0, SAMPLES), 10)
    settings = Settings(99, BATCH, 1e-3, mix="mixup")
    return Trainer(network, examples, Normalization((0.0, 0.0), (5000.0, 5000.0)), settings, CPU)


def alone(what: str, directory: Path, repeats: int) -> tuple[np.ndarray, float]:
    """The medians of what a process of its own prints, without its first line, and its peak memory in GB."""
    command = [sys.executable, "-m", "benchmarks.reader", "--only", what, str(directory), "--repeats", str(repeats)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    told = [[float(word) for word in line.split()] for line in process.stdout]
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{what} ended with {os.waitstatus_to_exitcode(status)}")
    return np.array([median(column) for column in zip(*told[1:])]), usage.ru_maxrss / 1e6


def main() -> None:
    """Make a store, measure, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reader", description=__doc__)
    parser.add_argument("--segments", type=int, default=600, help="of 1.9 MB each (default: 600)")
    parser.add_argument("--repeats", type=int, default=5, help="medians of them (default: 5)")
    parser.add_argument("--folder", type=Path, help="where the store is made (default: a temporary one)")
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "STORE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        what, store = given.only[0], Path(given.only[1])
        read(store, given.repeats) if what == "read" else train(store, given.repeats, what)
        return
    with tempfile.TemporaryDirectory(prefix="asctool-benchmark-", dir=given.folder) as folder:
        store = Path(folder) / "waves"
        make_store(store, given.segments)
        gigabytes = streaming.n_bytes(Store(store)) / 1e9
        rates, peak = alone("read", store, given.repeats)
        found = {what: alone(what, store, given.repeats)[0] for what in NETWORKS}
    table = Table("what", "by the clock", "by the processors", "asked for")
    table.add_row("segments a minute, shuffled", *(f"{rate:,.0f}" for rate in rates), f"{LEAST_A_MINUTE:,} at least")
    table.add_row("peak memory of the reader, GB", f"{peak:.2f}", "", f"below {MOST_GIGABYTES:g}")
    for what, seconds in found.items():
        network = f"raw_resnet of {NETWORKS[what][0]} filters"
        table.add_row(f"{network}: a batch from memory, s", *(f"{v / NETWORKS[what][1]:.3f}" for v in seconds[:2]), "")
        table.add_row(f"{network}: from disk, s", *(f"{v / NETWORKS[what][1]:.3f}" for v in seconds[2:]), "")
        mark = f"{MOST_RATIO} at most" if what == "train" else ""
        table.add_row("disk / memory", *(f"{ratio:.3f}" for ratio in seconds[2:] / seconds[:2]), mark)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"{given.segments} segments, {gigabytes:.2f} GB; {machine()}")


if __name__ == "__main__":
    main()
