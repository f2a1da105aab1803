"""Rows of signal processing: arrays in memory, weights cached, the logarithm included on either side."""

from collections.abc import Callable

import gammatone.fftweight
import gammatone.gtgram
import librosa
import numpy as np
import scipy.fft

from asctool.dsp import filterbanks, frames, noise
from asctool.features import gammatone as gammatone_feature
from asctool.features import logmel
from benchmarks.minimum_statistics_loop import minimum_statistics as minimum_statistics_loop
from benchmarks.rows import Row

Function = Callable[[], object]


def _noise(seconds: float, rate: int) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate)).astype(np.float32)


def _fft_alone(n_frames: int, length: int) -> Function:
    """The same transforms in the same blocks, nothing before and nothing after."""
    block = np.ones((frames.BLOCK_FRAMES, length), np.float32)

    def run() -> None:
        for start in range(0, n_frames, len(block)):
            scipy.fft.rfft(block[: n_frames - start])

    return run


def _log_mel(seconds: int) -> Row:
    """Phan 2019's setting; librosa makes its filter bank anew for every clip, as its users do."""
    rate, config = 22050, logmel.Config()
    samples = _noise(seconds, rate)

    def theirs() -> np.ndarray:
        power = librosa.feature.melspectrogram(
            y=samples, sr=rate, n_fft=1102, hop_length=551, fmin=50, n_mels=64, htk=True, norm=None
        )
        return np.log(np.maximum(power, config.floor_power))

    limits = {"scipy's FFT alone": _fft_alone(40 * seconds, 1152), "a copy": samples.copy}
    return Row(
        f"log-mel, 64 bands, 50 ms, 22.05 kHz, {seconds} s",
        "librosa.feature.melspectrogram",
        seconds,
        4.5,
        lambda: logmel.extract(samples, rate, config),
        theirs,
        limits,
    )


def log_mel() -> Row:
    """A clip of ESC-50."""
    return _log_mel(5)


def log_mel_long() -> Row:
    """A clip of LITIS Rouen."""
    return _log_mel(30)


def _gammatone_by_weights(length: int, at_least: float) -> Row:
    """Zhang 2019's frames of a clip of ESC-50, in the package's window; the package's FFT has 2048 points for them."""
    rate, floor = 44100, np.float32(1e-10)
    samples = _noise(5, rate)
    cut = frames.Layout(1024, 512, length, "hann")
    bank = filterbanks.parts(filterbanks.gammatone_weights(rate, length, 128, 50.0, rate / 2, floor / 100))

    def ours() -> np.ndarray:
        bands = frames.band_power(samples, cut, bank)
        return np.log(np.maximum(bands, floor, out=bands), out=bands)

    def theirs() -> np.ndarray:
        bands = gammatone.fftweight.fft_gtgram(samples, rate, 1024 / rate, 512 / rate, 128, 50)
        return np.log(np.maximum(bands, floor, out=bands), out=bands)

    what = f"gammatone by weights, 128 bands, 1024 samples, FFT {length}, 44.1 kHz, 5 s"
    limits = {"scipy's FFT alone": _fft_alone(430, length), "a copy": samples.copy}
    return Row(what, "gammatone.fftweight.fft_gtgram", 5, at_least, ours, theirs, limits)


def gammatone_at_2048() -> Row:
    """At the package's own FFT length."""
    return _gammatone_by_weights(2048, 6)


def gammatone_at_1024() -> Row:
    """At the frame's own length, which is a fast one."""
    return _gammatone_by_weights(1024, 15)


def gammatone_filterbank() -> Row:
    """Fourth-order filters in time."""
    rate, config = 22050, gammatone_feature.Config(method="filterbank")
    samples = _noise(5, rate)
    return Row(
        "gammatone filter bank, 64 bands, 22.05 kHz, 5 s",
        "gammatone.gtgram.gtgram",
        5,
        60,
        lambda: gammatone_feature.extract(samples, rate, config),
        lambda: np.log(gammatone.gtgram.gtgram(samples, rate, 0.05, 0.025, 64, 50)),
        {"a copy": samples.copy},
    )


def _minimum_statistics(what: str, n_bins: int, at_least: float) -> Row:
    power = np.random.default_rng(0).exponential(size=(1875, n_bins)).astype(np.float32)
    return Row(
        f"minimum statistics, {n_bins} bins ({what}), 30 s",
        "a NumPy loop over frames",
        30,
        at_least,
        lambda: noise.minimum_statistics(power, 0.016),
        lambda: minimum_statistics_loop(power, 0.016),
        {"a copy": power.copy},
    )


def minimum_statistics() -> Row:
    """Martin's own frames."""
    return _minimum_statistics("8 kHz, as in the paper", 129, 80)


def minimum_statistics_wide() -> Row:
    """What denoising at 22.05 kHz needs; with more bins NumPy's overhead a frame weighs less."""
    return _minimum_statistics("22.05 kHz", 361, 25)


ROWS = (
    log_mel,
    log_mel_long,
    gammatone_at_2048,
    gammatone_at_1024,
    gammatone_filterbank,
    minimum_statistics,
    minimum_statistics_wide,
)
