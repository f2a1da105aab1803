"""``python -m benchmarks.predict``: how soon predict answers, and how many times real time it runs at, on the CPU.

An Att-CRNN of the paper's size on log-mel and its denoised channel (weights as drawn: they cost what trained ones
cost), a bundle of it, recordings at 44.1 kHz. Processor seconds stand beside those of the clock, and the load of the
machine beside both: on a busy machine the processor seconds tell more.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table

from asctool import models, registry
from asctool.dsp import noise
from asctool.features import logmel
from asctool.models._layers import InputShape
from asctool.stages.featurize import configure
from asctool.storage import bundle, settings
from asctool.storage.bundle import Bundle, Step

RATE = 44100
CLASSES = tuple(f"class {number}" for number in range(10))


def make_bundle(model: str) -> Bundle:
    """A network of its paper's size, untrained."""
    own, feature = configure("logmel", {"sample_rate": 22050})
    config, shape = registry.load("models", model).Config(), InputShape(2, logmel.Config().n_bands, 80)
    torch.manual_seed(0)
    weights = models.build(model, config, shape, len(CLASSES)).state_dict()
    features = {"type": "logmel", **settings.as_dict(own), "delta": False, **settings.as_dict(feature.config)}
    network = {
        "config": {
            "model": model,
            "fold": 1,
            "classes": list(CLASSES),
            "network": settings.as_dict(config),
            "training": {"precision": "auto"},
            "features": features,
        },
        "shape": vars(shape),
        "normalization": {"mean": [-15.0, -16.0], "deviation": [5.0, 5.0]},
        "protocol": {},
        "denoise": {"sample_rate": None, **settings.as_dict(noise.Config())},
    }
    arrays = {f"network/0/{name}": value.numpy() for name, value in weights.items()}
    return Bundle(CLASSES, (network,), (Step("network", model, network=0, fold=1),), (0,), arrays)


def make_recording(path: Path, seconds: float) -> None:
    """Noise whose level wanders, 16-bit wav."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for second in range(round(seconds)):
            file.write(rng.normal(size=RATE) * 0.02 * (1.5 + np.sin(second)))


def run(model: Path, recordings: list[Path]) -> tuple[float, float, float, float]:
    """Seconds until the first answer and until the end, of the processors, and MB at the peak."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    command = [sys.executable, "-m", "asctool", "predict", *map(str, recordings), "--model", str(model)]
    with subprocess.Popen([*command, "--device", "cpu"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        first = time.perf_counter() - began
        process.stdout.read()
    if process.returncode:
        raise SystemExit(f"predict ended with {process.returncode}")
    whole = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return first, whole, processors, after.ru_maxrss / 1024


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=__doc__)
    parser.add_argument("--model", default="att_crnn", help="which network (default: att_crnn)")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the long recording (default: 30)")
    parser.add_argument("--clips", type=int, default=200, help="short recordings of 5 s (default: 200)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="asctool-benchmark-") as name:
        base = Path(name)
        bundle.write(base / "model.asc", make_bundle(given.model))
        make_recording(base / "long.wav", given.minutes * 60)
        make_recording(base / "short.wav", 5)
        clips = [base / f"{number}.wav" for number in range(given.clips)]
        for clip in clips:
            clip.hardlink_to(base / "short.wav")
        run(base / "model.asc", [base / "short.wav"])  # compiles what numba keeps
        start = run(base / "model.asc", [base / "short.wav"])
        rows = [("one clip of 5 s", 5.0, start)]
        rows.append((f"{given.clips} clips of 5 s", 5.0 * given.clips, run(base / "model.asc", clips)))
        rows.append((f"{given.minutes:g} minutes", given.minutes * 60, run(base / "model.asc", [base / "long.wav"])))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    table = Table(title=f"predict, {given.model}, {len(os.sched_getaffinity(0))} cores, load {load}")
    for column in ("recordings", "first answer", "all", "processors", "times real time", "... by processors", "peak"):
        table.add_column(column, justify="right")
    for told, seconds, (first, whole, processors, peak) in rows:
        work, idle = whole - start[1], processors - start[2]  # without what starting costs
        speed = f"{seconds / work:.0f}" if work > 0 else ""
        on_both = f"{len(os.sched_getaffinity(0)) * seconds / idle:.0f}" if idle > 0 else ""
        table.add_row(told, f"{first:.1f} s", f"{whole:.1f} s", f"{processors:.1f} s", speed, on_both, f"{peak:.0f} MB")
    Console(width=None if sys.stdout.isatty() else 160).print(table)


if __name__ == "__main__":
    main()
