"""The waveform itself, float32 (channel, sample), where frames are samples."""

import math
from dataclasses import dataclass

import numpy as np

from asctool.errors import UsageError
from asctool.features._spectral import check_finite

SEGMENT_FRAMES = None  # whole clips
FULL_SCALE = 32768  # of int16


@dataclass(frozen=True)
class Config:
    """0 leaves samples as they are; raw_resnet pre-emphasises by itself, so that int16 holds recordings exactly."""

    pre_emphasis: float = 0.0

    def validate(self, sample_rate: int) -> None:
        """Raise UsageError, one line, for values that make no sense."""
        check_finite(self)
        if sample_rate <= 0:
            raise UsageError(f"sample rate {sample_rate} Hz must be above 0")
        if not 0 <= self.pre_emphasis <= 1:
            raise UsageError(f"pre_emphasis {self.pre_emphasis:g} must lie from 0 to 1")


def extract(samples: np.ndarray, sample_rate: int, config: Config) -> np.ndarray:
    """Samples (n,) or (channel, n) -> (channel, n), y(n) = x(n) - pre_emphasis x(n - 1)."""
    config.validate(sample_rate)
    emphasised = np.array(np.atleast_2d(samples), np.float32)
    if config.pre_emphasis:
        emphasised[:, 1:] -= np.float32(config.pre_emphasis) * np.atleast_2d(samples)[:, :-1]
    return emphasised


def frame_count(n_samples: int, sample_rate: int, config: Config) -> int:
    """Samples are the frames."""
    return n_samples


def hop_seconds(sample_rate: int, config: Config) -> float:
    """Time between samples."""
    return 1 / sample_rate


def peak_db(row: np.ndarray) -> float:
    """Power of the largest sample, dB re full scale, of a waveform (channel, sample); digital silence: -inf."""
    peak = float(np.abs(row).max(initial=0))
    return 20 * math.log10(peak) if peak else -math.inf


def as_int16(samples: np.ndarray) -> np.ndarray:
    """Samples in steps of 1 / 32768, clipped at full scale: recordings of 16 bits at their own rate come out exact."""
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
