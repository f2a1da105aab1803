"""Rows of whole stages: files in, files out."""

import functools
import shutil
import tempfile
import time
from pathlib import Path

import h5py
import librosa
import numpy as np
import soundfile

from asctool.corpora import folder
from asctool.stages import featurize, prep
from asctool.storage import atomic
from benchmarks.rows import Row

RATE, SECONDS = 22050, 30  # clips of LITIS Rouen


@functools.cache
def _data_directory(n_clips: int) -> Path:
    """A data directory of made 16-bit wav files; it goes when the process ends."""
    base = Path(_keep(tempfile.TemporaryDirectory(prefix="asctool-benchmark-")).name)
    rng = np.random.default_rng(0)
    for i in range(n_clips):
        path = base / "audio" / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(RATE * SECONDS), RATE, subtype="PCM_16")
    prep.prep("folder", base / "audio", base / "data", prep.Settings(n_folds=2), folder.Config(), jobs=1)
    return base / "data"


_kept: list[object] = []


def _keep(folder: "tempfile.TemporaryDirectory[str]") -> "tempfile.TemporaryDirectory[str]":
    _kept.append(folder)
    return folder


def _empty(directory: Path) -> None:
    """As before the first run; synced, for a disk that is told of freed blocks would be busy with them meanwhile."""
    shutil.rmtree(directory)
    directory.mkdir()
    atomic.sync_directory(directory.parent)


def _featurize(n_clips: int, at_least: float) -> Row:
    """Phan 2019's log-mel from wav files to a new store: check the hash, decode, compute, cut, hash, write, sync."""
    data = _data_directory(n_clips)
    settings, feature = featurize.configure("logmel", {"sample_rate": RATE})
    paths = sorted((data.parent / "audio").rglob("*.wav"))
    output = Path(_keep(tempfile.TemporaryDirectory(prefix="asctool-benchmark-")).name) / "output"
    output.mkdir()

    def theirs() -> None:
        with h5py.File(output / "theirs.h5", "w") as file:
            for path in paths:
                samples, rate = librosa.load(path, sr=RATE)
                power = librosa.feature.melspectrogram(
                    y=samples, sr=rate, n_fft=1102, hop_length=551, fmin=50, n_mels=64, htk=True, norm=None
                )
                file.create_dataset(path.stem, data=np.log(np.maximum(power, 1e-10)))

    return Row(
        f"featurize, end to end from {n_clips} wav files of {SECONDS} s, 22.05 kHz",
        "librosa.load + melspectrogram + h5py",
        n_clips * SECONDS,
        at_least,
        lambda: featurize.featurize(data, output / "ours", settings, feature, jobs=1),
        theirs,
        before=lambda: _empty(output),
        clock=time.perf_counter,
    )


def featurize_end_to_end() -> Row:
    """A dozen clips: what a stage does once, above all waiting for the disk, weighs as much as the clips."""
    return _featurize(12, 3)


def featurize_an_hour() -> Row:
    """Enough clips that what a stage does once weighs little."""
    return _featurize(120, 3)


ROWS = (featurize_end_to_end, featurize_an_hour)
