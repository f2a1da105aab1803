"""Rows of whole stages: files in, files out."""

import functools
import tempfile
from pathlib import Path

import h5py
import librosa
import numpy as np
import soundfile

from asctool.corpora import folder
from asctool.stages import featurize, prep
from benchmarks.rows import Row

RATE, SECONDS, N_CLIPS = 22050, 30, 12  # a dozen clips of LITIS Rouen


@functools.cache
def _data_directory() -> Path:
    """A data directory of made 16-bit wav files; it goes when the process ends."""
    base = Path(_keep(tempfile.TemporaryDirectory(prefix="asctool-benchmark-")).name)
    rng = np.random.default_rng(0)
    for i in range(N_CLIPS):
        path = base / "audio" / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(RATE * SECONDS), RATE, subtype="PCM_16")
    prep.prep("folder", base / "audio", base / "data", prep.Settings(n_folds=2), folder.Config(), jobs=1)
    return base / "data"


_kept: list[object] = []


def _keep(folder: "tempfile.TemporaryDirectory[str]") -> "tempfile.TemporaryDirectory[str]":
    _kept.append(folder)
    return folder


def featurize_end_to_end() -> Row:
    """Phan 2019's log-mel from wav files to a store: check the hash, decode, compute, cut, hash, write, sync."""
    data = _data_directory()
    settings, feature = featurize.configure("logmel", {"sample_rate": RATE})
    paths = sorted((data.parent / "audio").rglob("*.wav"))
    output = Path(_keep(tempfile.TemporaryDirectory(prefix="asctool-benchmark-")).name)

    def theirs() -> None:
        with h5py.File(output / "theirs.h5", "w") as file:
            for path in paths:
                samples, rate = librosa.load(path, sr=RATE)
                power = librosa.feature.melspectrogram(
                    y=samples, sr=rate, n_fft=1102, hop_length=551, fmin=50, n_mels=64, htk=True, norm=None
                )
                file.create_dataset(path.stem, data=np.log(np.maximum(power, 1e-10)))

    return Row(
        "featurize, end to end from 30 s wav files, 22.05 kHz",
        "librosa.load + melspectrogram + h5py",
        N_CLIPS * SECONDS,
        3,
        lambda: featurize.featurize(data, output / "ours", settings, feature, jobs=1, force=True),
        theirs,
    )


ROWS = (featurize_end_to_end,)
