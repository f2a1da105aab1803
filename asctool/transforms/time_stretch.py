"""Time stretching at constant pitch by Signalsmith Stretch: samples (n,) or (channel, n), float32.

A burst of 5 ms stays one, where a plain phase vocoder makes it several times longer; noise keeps its level within 2 dB.
"""

from dataclasses import dataclass

import numpy as np

from asctool.errors import UsageError
from asctool.registry import unknown

LENGTHS = ("cut", "free", "keep", "pad")
SLOWEST = 0.55  # of one pass: from 0.5 down, the library draws phases at random and no result can be made again


@dataclass(frozen=True)
class Config:
    """Zhang 2019, section 2.4: factors uniform from 0.8 (slower, longer) to 1.3; what becomes of the length is ours."""

    min_factor: float = 0.8
    max_factor: float = 1.3
    length: str = "keep"  # the clip's, cut or padded with zeros; "cut" or "pad" do one of both, "free" neither

    def __post_init__(self) -> None:
        if not 0 < self.min_factor <= self.max_factor < float("inf"):
            raise UsageError(f"min_factor {self.min_factor} must be above 0 and at most max_factor {self.max_factor}")
        if self.length not in LENGTHS:
            raise UsageError(unknown("length", self.length, list(LENGTHS)))


@dataclass(frozen=True)
class Parameters:
    """How many times faster, and what becomes of the length."""

    factor: float
    length: str


def draw(generator: np.random.Generator, config: Config) -> Parameters:
    """A factor, uniform between the limits."""
    return Parameters(float(generator.uniform(config.min_factor, config.max_factor)), config.length)


def apply(samples: np.ndarray, sample_rate: int, parameters: Parameters) -> np.ndarray:
    """The clip played ``factor`` times as fast, its pitch kept."""
    return fit(stretch(samples, sample_rate, parameters.factor), samples.shape[-1], parameters.length)


def stretch(samples: np.ndarray, sample_rate: int, factor: float) -> np.ndarray:
    """Samples of 1/factor the length, rounded."""
    passes = 1
    while factor ** (1 / passes) < SLOWEST:
        passes += 1
    stretched = np.atleast_2d(samples).astype(np.float32)
    for _ in range(passes):
        stretched = _one_pass(stretched, sample_rate, factor ** (1 / passes))
    return stretched.reshape(*samples.shape[:-1], -1)


def _one_pass(samples: np.ndarray, sample_rate: int, factor: float) -> np.ndarray:
    from python_stretch.Signalsmith import Stretch

    engine = Stretch()
    engine.preset(len(samples), float(sample_rate))
    engine.setTimeFactor(factor)
    return np.asarray(engine.process(samples))


def fit(samples: np.ndarray, n_samples: int, length: str) -> np.ndarray:
    """Samples cut or padded with zeros to ``n_samples``, as far as the policy allows."""
    if samples.shape[-1] > n_samples and length in ("cut", "keep"):
        return samples[..., :n_samples]
    if samples.shape[-1] < n_samples and length in ("pad", "keep"):
        return np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, n_samples - samples.shape[-1])])
    return samples
