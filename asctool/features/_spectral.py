"""What log-mel and gammatone share: checking a configuration, cutting frames, the logarithm, channels."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from asctool.dsp import frames
from asctool.errors import UsageError
from asctool.registry import unknown

if TYPE_CHECKING:
    import torch

DB_PER_NEPER = 10 / math.log(10)  # of a power's natural logarithm


class Spectral(Protocol):
    """The fields that every spectral configuration has."""

    @property
    def n_bands(self) -> int: ...
    @property
    def f_min_hz(self) -> float: ...
    @property
    def f_max_hz(self) -> float | None: ...
    @property
    def frame_seconds(self) -> float: ...
    @property
    def hop_seconds(self) -> float: ...
    @property
    def frame_samples(self) -> int | None: ...
    @property
    def hop_samples(self) -> int | None: ...
    @property
    def window(self) -> str: ...
    @property
    def floor_power(self) -> float: ...


def layout(config: Spectral, sample_rate: int) -> frames.Layout:
    """How clips at this rate are cut into frames."""
    frame, hop = _lengths(config, sample_rate)
    return frames.layout(frame, hop, config.window)


def _lengths(config: Spectral, sample_rate: int) -> tuple[int, int]:
    """Frame and hop in samples; a count of samples overrides seconds."""
    frame = config.frame_samples if config.frame_samples is not None else round(config.frame_seconds * sample_rate)
    hop = config.hop_samples if config.hop_samples is not None else round(config.hop_seconds * sample_rate)
    return frame, hop


def f_max_hz(config: Spectral, sample_rate: int) -> float:
    """Upper limit of the bands: half the rate where none is given."""
    return sample_rate / 2 if config.f_max_hz is None else float(config.f_max_hz)


def check(config: Spectral, sample_rate: int) -> None:
    """Raise UsageError, one line, for a configuration that makes no sense at this rate."""
    check_finite(config)
    if sample_rate <= 0:
        raise UsageError(f"sample rate {sample_rate} Hz must be above 0")
    if config.n_bands < 1:
        raise UsageError(f"n_bands {config.n_bands} must be at least 1")
    if config.window not in frames.WINDOWS:
        raise UsageError(unknown("window", config.window, sorted(frames.WINDOWS)))
    if config.floor_power <= 0:
        raise UsageError(f"floor_power {config.floor_power} must be above 0")
    _check_range(config, sample_rate)
    _check_lengths(config, sample_rate)


def check_finite(config: object) -> None:
    """Raise UsageError for the first number of a configuration that is NaN or infinite."""
    for name, value in vars(config).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name} is {value}: give a finite number")


def _check_range(config: Spectral, sample_rate: int) -> None:
    top = f_max_hz(config, sample_rate)
    if top > sample_rate / 2:
        raise UsageError(f"f_max_hz {top:g} is above half the sample rate, {sample_rate / 2:g} Hz")
    if not 0 <= config.f_min_hz < top:
        raise UsageError(f"f_min_hz {config.f_min_hz:g} must lie from 0 to below f_max_hz, {top:g}")


def _check_lengths(config: Spectral, sample_rate: int) -> None:
    frame, hop = _lengths(config, sample_rate)
    if frame < 2:
        raise UsageError(f"a frame of {frame} samples is too short: at least 2")
    if hop < 1:
        raise UsageError(f"a hop of {hop} samples is too short: at least 1")
    if hop > frame:
        raise UsageError(f"hop of {hop} samples is above the frame of {frame}: samples between frames would be lost")


def log_bands(samples: np.ndarray, floor_power: float, bands: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Natural log of max(power, floor): samples (n,) -> (band, frame); (channel, n) -> (channel, band, frame).

    ``bands`` makes the (band, frame) powers of one channel.
    """
    if samples.ndim > 1:
        return np.stack([log_bands(channel, floor_power, bands) for channel in samples])
    values = bands(samples)
    np.maximum(values, np.float32(floor_power), out=values)
    return np.log(values, out=values)


def peak_db(row: np.ndarray) -> float:
    """Power of the loudest band of any frame, dB re full scale, of natural logarithms (channel, band, frame)."""
    return float(row.max()) * DB_PER_NEPER


def log_bands_batch(
    samples: "torch.Tensor", floor_power: float, cut: frames.Layout, weights: np.ndarray
) -> "torch.Tensor":
    """The same in torch: samples (batch, n) -> (batch, band, frame), contiguous."""
    return frames.band_power_batch(samples, cut, weights).clamp(min=floor_power).log().contiguous()
