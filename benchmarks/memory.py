"""``python -m benchmarks.memory``: peak memory of prep, denoise, featurize over 100 and 1 000 clips; start-up."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

RATE, SECONDS = 16000, 10
COMMANDS = {
    "prep": "prep folder {base}/audio {base}/data --set n_folds=2",
    "denoise": "denoise {base}/data {base}/denoised",
    "featurize": "featurize {base}/data {base}/logmel --type logmel --set sample_rate=16000 --denoised {base}/denoised",
}


def peak_megabytes(command: str) -> float:
    """Peak resident memory of one process of asctool."""
    arguments = [sys.executable, "-m", "asctool", *command.split(), "--jobs", "1", "--quiet"]
    process = subprocess.Popen(arguments)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"asctool {command} failed")
    return usage.ru_maxrss / 1024


def corpus(base: Path, n_clips: int) -> None:
    """Made recordings, half of them in each of two classes."""
    rng = np.random.default_rng(0)
    for i in range(n_clips):
        path = base / "audio" / "ab"[i % 2] / f"{i:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(RATE * SECONDS), RATE, subtype="PCM_16")


def main() -> None:
    """Print a Markdown table."""
    peaks = {}
    for n_clips in (100, 1000):
        with tempfile.TemporaryDirectory(prefix="asctool-benchmark-") as folder:
            corpus(Path(folder), n_clips)
            for stage, command in COMMANDS.items():
                peaks[stage, n_clips] = peak_megabytes(command.format(base=folder))
    print("| stage | MB, 100 clips | MB, 1 000 clips |\n| --- | --- | --- |")
    for stage in COMMANDS:
        print(f"| {stage} | {peaks[stage, 100]:.0f} | {peaks[stage, 1000]:.0f} |")
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name("asctool"), "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    print(f"\n`asctool --help`: {median(seconds):.2f} s")


if __name__ == "__main__":
    main()
