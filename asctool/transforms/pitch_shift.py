"""Pitch shifting at constant length: samples (n,) or (channel, n), float32.

The clip is stretched and then resampled, so that the pitch is exact at every frequency; the library's own shift is up
to 24 cents off below 100 Hz.
"""

from dataclasses import dataclass

import numpy as np

from asctool.errors import UsageError
from asctool.transforms.time_stretch import fit, stretch


@dataclass(frozen=True)
class Config:
    """Zhang 2019, section 2.4: semitones uniform from -3.5 to 3.5."""

    min_semitones: float = -3.5
    max_semitones: float = 3.5

    def __post_init__(self) -> None:
        if not -60 <= self.min_semitones <= self.max_semitones <= 60:
            raise UsageError(
                f"min_semitones {self.min_semitones} must be at most max_semitones {self.max_semitones}, both within 60"
            )


@dataclass(frozen=True)
class Parameters:
    """How far up, negative down."""

    semitones: float


def draw(generator: np.random.Generator, config: Config) -> Parameters:
    """Semitones, uniform between the limits."""
    return Parameters(float(generator.uniform(config.min_semitones, config.max_semitones)))


def apply(samples: np.ndarray, sample_rate: int, parameters: Parameters) -> np.ndarray:
    """The clip with its pitch shifted; its length stays, to the sample."""
    import soxr

    ratio = 2 ** (parameters.semitones / 12)
    stretched = stretch(samples, sample_rate, 1 / ratio)
    shifted = soxr.resample(stretched.T, ratio, 1.0).T  # played ``ratio`` times as fast
    return np.ascontiguousarray(fit(shifted, samples.shape[-1], "keep"), np.float32)
