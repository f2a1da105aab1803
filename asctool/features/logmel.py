"""Log-mel spectrogram: natural log of band power, float32 (band, frame) or (channel, band, frame)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from asctool.dsp import filterbanks, frames
from asctool.errors import UsageError
from asctool.features import _spectral
from asctool.registry import unknown

if TYPE_CHECKING:
    import torch

MEL_SCALES = ("htk", "slaney")
SEGMENT_FRAMES = 80  # Phan 2019: T of a 2-second segment


@dataclass(frozen=True)
class Config:
    """Phan 2019, section 4.2; counts of samples override seconds (Zhang 2019: 1024 and 512)."""

    n_bands: int = 64
    f_min_hz: float = 50.0
    f_max_hz: float | None = None  # None: half the sample rate
    frame_seconds: float = 0.05
    hop_seconds: float = 0.025
    frame_samples: int | None = None
    hop_samples: int | None = None
    window: str = "hann"
    mel_scale: str = "htk"
    floor_power: float = 1e-10  # -100 dB re full scale; the noise of 16-bit quantisation is -101 dB over the whole band

    def validate(self, sample_rate: int) -> None:
        """Raise UsageError, one line, for values that make no sense at this rate."""
        _spectral.check(self, sample_rate)
        if self.mel_scale not in MEL_SCALES:
            raise UsageError(unknown("mel_scale", self.mel_scale, list(MEL_SCALES)))
        empty = np.flatnonzero(_weights(self, sample_rate).max(axis=0) == 0)
        if len(empty):
            raise UsageError(
                f"mel band {empty[0]} at {band_frequencies(sample_rate, self)[empty[0]]:.0f} Hz is narrower than an "
                f"FFT bin and would stay empty: fewer bands, a longer frame or a higher f_min_hz"
            )


def extract(samples: np.ndarray, sample_rate: int, config: Config) -> np.ndarray:
    """Samples (n,) -> (band, frame); (channel, n) -> (channel, band, frame)."""
    cut, bank = _prepared(config, sample_rate)
    return _spectral.log_bands(samples, config.floor_power, lambda one: frames.band_power(one, cut, bank))


def extract_batch(samples: "torch.Tensor", sample_rate: int, config: Config) -> "torch.Tensor":
    """Samples (batch, n) -> (batch, band, frame), float32, on the samples' device; equal to ``extract`` within 1e-3."""
    cut, _ = _prepared(config, sample_rate)
    return _spectral.log_bands_batch(samples, config.floor_power, cut, _weights(config, sample_rate))


def peak_db(row: np.ndarray) -> float:
    """Power of the loudest band of any frame, dB re full scale, of features (channel, band, frame)."""
    return _spectral.peak_db(row)


def frame_count(n_samples: int, sample_rate: int, config: Config) -> int:
    """Frames that ``extract`` makes of a clip of this length."""
    return frames.count(n_samples, _spectral.layout(config, sample_rate).hop)


def hop_seconds(sample_rate: int, config: Config) -> float:
    """Time between frames after rounding to whole samples."""
    return _spectral.layout(config, sample_rate).hop / sample_rate


def band_frequencies(sample_rate: int, config: Config) -> np.ndarray:
    """Peaks of the triangles, (band,), Hz."""
    top = _spectral.f_max_hz(config, sample_rate)
    return filterbanks.mel_edges(config.n_bands, config.f_min_hz, top, config.mel_scale)[1:-1]


@lru_cache(maxsize=16)
def _prepared(config: Config, sample_rate: int) -> tuple[frames.Layout, tuple[filterbanks.Part, ...]]:
    """The layout and the bank of a configuration that was found valid."""
    config.validate(sample_rate)
    return _spectral.layout(config, sample_rate), filterbanks.parts(_weights(config, sample_rate))


def _weights(config: Config, sample_rate: int) -> np.ndarray:
    fft = _spectral.layout(config, sample_rate).fft
    top = _spectral.f_max_hz(config, sample_rate)
    return filterbanks.mel_weights(sample_rate, fft, config.n_bands, config.f_min_hz, top, config.mel_scale)
