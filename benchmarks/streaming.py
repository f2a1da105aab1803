"""``python -m benchmarks.streaming``: features that stay on disk: how fast rows come, and the peak of memory.

``read`` takes all rows in the order and the batches of an epoch, ``train`` goes through an epoch with a tiny network,
``resident`` does the same with all rows in memory. Each is a process of its own. What still grows with the number of
rows on the streaming path is what stands beside them: clip, start, target and hash of each.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from asctool.storage import locks, rows
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.shards import plan_shards
from asctool.storage.store import Store, StoreWriter
from benchmarks.rows import machine

SIZES = (10_000, 30_000, 100_000)
SHAPE = (2, 64, 80)  # as in Phan 2019: 20 kB in float16
ROWS_A_CLIP, CLASSES, BATCH = 100, 10, 100
KINDS = ("read", "train", "resident")


def make_store(path: Path, n_rows: int, shape: tuple[int, ...]) -> int:
    """Rows of noise in float16, a hundred a clip, all of the training subset; the bytes of their features."""
    names = tuple(f"class {number}" for number in range(CLASSES))
    clips = tuple(
        Clip(f"{i:07d}", f"{i}.wav", (names[i % CLASSES],), str(i), float(ROWS_A_CLIP))
        for i in range(n_rows // ROWS_A_CLIP)
    )
    folds = tuple(FoldRow(1, clip.clip_id, "train") for clip in clips)
    noise = np.random.default_rng(0).standard_normal((ROWS_A_CLIP, *shape), np.float32)
    with locks.writer_lock(path):
        plan = plan_shards([noise.nbytes // 2] * len(clips))
        writer = StoreWriter(path, Recipe("feature", "featurize", 1, {"type": "logmel", "rows": n_rows}), len(plan))
        for index, (first, end) in enumerate(plan):
            level = np.arange(first, end, dtype=np.float32).reshape(-1, 1, *[1] * len(shape)) % CLASSES
            columns = {
                "clip_id": np.repeat([clip.clip_id for clip in clips[first:end]], ROWS_A_CLIP),
                "start": np.tile(np.arange(ROWS_A_CLIP, dtype=np.float64), end - first),
                "array": (noise + level).astype(np.float16).reshape(-1, *shape),
            }
            writer.add(index, writer.shards.write(index, columns))
        writer.finish(Tables(clips, folds, names))
    return n_rows * noise[0].nbytes // 2


def work(kind: str, path: Path) -> None:
    """One measurement in this process; its rate and the peak of its memory as JSON."""
    import torch

    from asctool import models
    from asctool.models._layers import InputShape
    from asctool.training import batches, devices, epochs
    from asctool.training.examples import Examples, Normalization
    from asctool.training.settings import Settings
    from asctool.training.trainer import Trainer

    devices.use_all_cores()
    started = _peak()
    data = rows.load(Store(path, "feature"), 1, "no" if kind == "resident" else "yes")
    train = data.select("train")
    taken, settings = rows.take(data.features, train), Settings(epochs=1, batch_size=BATCH, learning_rate=1e-3)
    opened = time.perf_counter()
    if kind == "read":
        plan, ranges = epochs.draw(settings, 0, data.targets.argmax(1)), epochs.batch_ranges(len(train), BATCH)
        n_rows = sum(len(own) for own, _ in batches.source(taken, torch.device("cpu"))(plan.rows, None, ranges))
    else:
        shape = InputShape.of(taken.shape[1:])
        network = models.build("cnn", {"filters": (2, 2, 2)}, shape, CLASSES)
        examples = Examples(taken, data.targets[train], data.clip_index(train))
        still = Normalization((0.0,) * shape.channels, (1.0,) * shape.channels)
        Trainer(network, examples, still, settings, torch.device("cpu")).run_epoch()
        n_rows = len(train)
    seconds = time.perf_counter() - opened
    print(json.dumps({"rate": n_rows / seconds, "peak": _peak() / 1e6, "started": started / 1e6}))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(kind: str, path: Path) -> dict[str, float]:
    """The same in a new process."""
    command = [sys.executable, "-m", "benchmarks.streaming", "--work", kind, str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help=f"sizes (default: {SIZES})")
    parser.add_argument("--shape", type=int, nargs=3, default=SHAPE, help=f"of a row (default: {SHAPE})")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--folder", type=Path, help="where the stores are made, for as long as it takes")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(given.work[0], Path(given.work[1]))
        return
    print("| | rows | GB of features | rows/s | MB/s | peak MB | of them before the store is opened |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for n_rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="asctool-benchmark-", dir=given.folder) as name:
            n_bytes = make_store(Path(name) / "store", n_rows, tuple(given.shape))
            for kind in given.kinds:
                found = measured(kind, Path(name) / "store")
                speed = f"{found['rate']:,.0f} | {found['rate'] * n_bytes / n_rows / 1e6:,.0f}"
                memory = f"{found['peak']:.0f} | {found['started']:.0f}"
                print(f"| {kind} | {n_rows:,} | {n_bytes / 1e9:.2f} | {speed} | {memory} |", flush=True)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
