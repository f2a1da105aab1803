"""Noise power by minimum statistics (Martin 2001) and spectral subtraction: power (frame, bin), samples (n,)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from asctool.dsp import frames
from asctool.errors import UsageError

if TYPE_CHECKING:
    from asctool.dsp import _martin2001

WINDOW_SECONDS = 1.408  # of the minimum: 8 x 11 frames of 16 ms; the paper's 8 x 12 follow a rise 0.13 s later
SUB_WINDOWS = 8
# Table III: length D of a window in frames, mean of the minimum of D correlated estimates.
LENGTHS = (1, 2, 5, 8, 10, 15, 20, 30, 40, 60, 80, 120, 140, 160, 180, 220, 260, 300)
MEANS = (0, 0.26, 0.48, 0.58, 0.61, 0.668, 0.705, 0.762, 0.8, 0.841, 0.865, 0.89, 0.9, 0.91, 0.92, 0.93, 0.935, 0.94)
SLOPE_BOUNDS = np.array([0.03, 0.05, 0.06], np.float32)  # of the mean inverse degrees of freedom
SLOPE_LIMITS = np.array([47, 31.4, 15.7, 4.1])  # dB a second: 8, 4, 2, 1.2 times in a sub-window of 192 ms
TIME_CONSTANTS = {  # seconds, of the paper's factors at a hop of 16 ms: 0.96, 0.3, 0.7, 0.8
    "alpha_max": 0.392,
    "alpha_min": 0.0133,
    "correction_memory": 0.0449,
    "beta_max": 0.0717,
}
PEAK = 1e15  # a clip's largest power inside the loop: squares of what lies 330 dB below still are float32


@dataclass(frozen=True)
class Config:
    """Spectral subtraction (Berouti 1979) in frames that overlap by half or more; nothing of it is in Phan 2019.

    Gains come from power averaged over a few frames and bins: without that, single peaks of noise pass the gate and
    are heard as tones.
    """

    frame_seconds: float = 0.032
    hop_seconds: float = 0.016
    over_subtraction: float = 2.0  # times the noise power
    floor_gain: float = 0.2  # amplitude, -14 dB: what remains of noise is still noise
    average_frames: int = 5
    average_bins: int = 7

    def validate(self, sample_rate: int) -> None:
        """Raise UsageError, one line, for values that make no sense at this rate."""
        for name, value in vars(self).items():
            if not 0 < value < float("inf"):
                raise UsageError(f"{name} {value} must be above 0 and finite")
        if self.floor_gain > 1:
            raise UsageError(f"floor_gain {self.floor_gain:g} must be at most 1")
        if self.frame_seconds < 2 * self.hop_seconds:
            raise UsageError(f"hop_seconds {self.hop_seconds:g} must be at most half of frame_seconds")
        if round(self.hop_seconds * sample_rate) < 1:
            raise UsageError(f"hop_seconds {self.hop_seconds:g} is below one sample at {sample_rate} Hz")


def minimum_statistics(power: np.ndarray, hop_seconds: float) -> np.ndarray:
    """Noise power of power spectra (frame, bin), same shape, float32; frames of digital silence hold the estimate.

    Martin 2001, "Noise power spectral density estimation based on optimal smoothing and minimum statistics".
    """
    return Tracker(hop_seconds)(power)


class Tracker:
    """Minimum statistics of a clip that comes in pieces (frame, bin); each call goes on where the last one ended."""

    def __init__(self, hop_seconds: float) -> None:
        if not hop_seconds > 0:
            raise UsageError(f"hop_seconds {hop_seconds} must be above 0")
        self.constants, self.limits = _constants(hop_seconds)
        self.scale = 0.0
        self.carried: _martin2001.Carried | None = None

    def __call__(self, power: np.ndarray) -> np.ndarray:
        from asctool.dsp import _martin2001  # numba takes 0.4 s to import

        peak = float(power.max(initial=0.0))
        if self.carried is None:
            if peak == 0:
                return np.zeros(power.shape, np.float32)
            self.carried = _martin2001.beginning(power.shape[1], self.constants.n_sub)
            self.scale = min(PEAK / peak, 1e38)
        elif peak * self.scale > PEAK:
            factor = 2.0 ** -np.ceil(np.log2(peak * self.scale / PEAK))
            _martin2001.rescale(self.carried, factor)
            self.scale *= factor
        noise = np.empty(power.shape, np.float32)
        power = np.ascontiguousarray(power, np.float32)
        scale = np.float32(self.scale)
        _martin2001.track(power, scale, self.constants, SLOPE_BOUNDS, self.limits, self.carried, noise)
        return noise


@lru_cache(maxsize=16)
def _constants(hop_seconds: float) -> "tuple[_martin2001.Constants, np.ndarray]":
    """What the loop needs at this hop, and the highest rise (factor in a sub-window) at each slope."""
    from asctool.dsp import _martin2001

    sub_length = max(4, round(WINDOW_SECONDS / (hop_seconds * SUB_WINDOWS)))
    n_sub = max(1, round(WINDOW_SECONDS / (hop_seconds * sub_length)))
    decay = {name: np.float32(np.exp(-hop_seconds / seconds)) for name, seconds in TIME_CONSTANTS.items()}
    constants = _martin2001.Constants(
        n_sub,
        sub_length,
        **decay,
        snr_exponent=np.float32(-hop_seconds / 0.064),  # P falls by SNR in 64 ms, R / 64 ms in (12)
        bias_factor=np.float32(2.12),  # a_v of B_c
        mean_window=np.float32(_mean(n_sub * sub_length)),
        mean_sub=np.float32(_mean(sub_length)),
        inverse_q_max=np.float32(1 / 2),  # a single periodogram
        inverse_q_min=np.float32(1 / 14),
    )
    return constants, (10 ** (SLOPE_LIMITS * sub_length * hop_seconds / 10)).astype(np.float32)


def _mean(length: int) -> float:
    """Table III between its entries, linear in the square root of the length."""
    return float(np.interp(np.sqrt(length), np.sqrt(LENGTHS), MEANS))


def subtract(samples: np.ndarray, sample_rate: int, config: Config) -> np.ndarray:
    """Samples (n,) or (channel, n) without their stationary noise, float32, same shape."""
    config.validate(sample_rate)
    if samples.ndim > 1:
        return np.stack([subtract(channel, sample_rate, config) for channel in samples])
    window, hop = _window(sample_rate, config)
    frame = len(window)
    n_frames = -(-len(samples) // hop) + frame // hop - 1  # every sample lies in equally many frames
    padded = np.zeros((n_frames - 1) * hop + frame, np.float32)
    padded[frame - hop : frame - hop + len(samples)] = samples
    spectrum, power = _analyse(padded, window, hop)
    spectrum *= _gain(power, minimum_statistics(power, hop / sample_rate), config)
    return _synthesise(spectrum, window, hop).ravel()[frame - hop :][: len(samples)]


class Subtraction:
    """What :func:`subtract` does to one channel that comes in pieces (n,), at the memory of a piece.

    A gain looks ahead by half of ``average_frames``, so that ``push`` returns less than it was given and ``finish``
    the rest. Where the first piece is not the loudest, the scale of the powers differs, and with it their rounding.
    """

    def __init__(self, sample_rate: int, config: Config) -> None:
        config.validate(sample_rate)
        self.config = config
        self.window, self.hop = _window(sample_rate, config)
        self.track = Tracker(self.hop / sample_rate)
        self.samples = np.zeros(len(self.window) - self.hop, np.float32)  # yet to be framed, and what they overlap
        self.frames: tuple[np.ndarray, ...] = ()  # spectrum, power, noise, each (frame, bin)
        self.n_past = 0  # of these frames, whose gains are applied and which only average into others
        self.overlap = np.zeros((len(self.samples) // self.hop, self.hop), np.float32)
        self.to_drop = len(self.samples)  # of the padding in front
        self.n_left = 0  # samples that are owed

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Go on by a piece; what is ready of the result."""
        self.n_left += len(samples)
        return self._go_on(samples, final=False)

    def finish(self) -> np.ndarray:
        """The rest of the result."""
        n_unframed = len(self.samples) - (len(self.window) - self.hop)
        n_frames = len(self.window) // self.hop - 1 + (n_unframed > 0)
        return self._go_on(np.zeros(n_frames * self.hop - n_unframed, np.float32), final=True)

    def _go_on(self, samples: np.ndarray, final: bool) -> np.ndarray:
        self.samples = np.concatenate([self.samples, samples]).astype(np.float32, copy=False)
        n_frames = (len(self.samples) - len(self.window)) // self.hop + 1
        if n_frames > 0:
            length = (n_frames - 1) * self.hop + len(self.window)
            spectrum, power = _analyse(self.samples[:length], self.window, self.hop)
            self.samples = self.samples[n_frames * self.hop :]
            new = (spectrum, power, self.track(power))
            self.frames = tuple(map(np.concatenate, zip(self.frames, new))) if self.frames else new
        if not self.frames:
            return np.zeros(0, np.float32)
        size = self.config.average_frames
        end = len(self.frames[0]) - (0 if final else size - 1 - size // 2)
        return self._apply(end) if end > self.n_past else np.zeros(0, np.float32)

    def _apply(self, end: int) -> np.ndarray:
        """Apply the gains of the frames before ``end``, forget what no later gain needs."""
        spectrum, power, noise = self.frames
        own = slice(self.n_past, end)
        summed = _synthesise(spectrum[own] * _gain(power, noise, self.config)[own], self.window, self.hop)
        summed[: len(self.overlap)] += self.overlap
        n_whole = len(summed) - len(self.overlap)
        self.overlap = summed[n_whole:]
        forgotten = max(0, end - self.config.average_frames // 2)
        self.frames, self.n_past = tuple(part[forgotten:] for part in self.frames), end - forgotten
        ready = summed[:n_whole].ravel()
        dropped = min(self.to_drop, len(ready))
        ready = ready[dropped:][: self.n_left]
        self.to_drop -= dropped
        self.n_left -= len(ready)
        return ready


def _window(sample_rate: int, config: Config) -> tuple[np.ndarray, int]:
    """Square root of Hann, and the hop, in samples."""
    hop = round(config.hop_seconds * sample_rate)
    overlap = round(config.frame_seconds / config.hop_seconds)
    return np.sqrt(frames.window("hann", hop * overlap)).astype(np.float32), hop


def _analyse(samples: np.ndarray, window: np.ndarray, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Spectra and their power (frame, bin) of all whole frames."""
    cut = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::hop]
    spectrum = scipy.fft.rfft(cut * window, frames.fast_length(len(window)))
    return spectrum, np.square(spectrum.real) + np.square(spectrum.imag)


def _synthesise(spectrum: np.ndarray, window: np.ndarray, hop: int) -> np.ndarray:
    """Overlap and add, (hop of the result, sample): sqrt-Hann twice is Hann, whose sum over hops is half the overlap.

    The first and the last rows, as many as frames overlap by hops, are incomplete.
    """
    n_frames, frame = len(spectrum), len(window)
    overlap = frame // hop
    parts = scipy.fft.irfft(spectrum, frames.fast_length(frame))[:, :frame] * (window * np.float32(2 / overlap))
    summed = np.zeros((n_frames + overlap - 1, hop), np.float32)
    for part in range(overlap):
        summed[part : part + n_frames] += parts[:, part * hop : (part + 1) * hop]
    return summed


def _gain(power: np.ndarray, noise: np.ndarray, config: Config) -> np.ndarray:
    """Amplitude gain (frame, bin): the share of power that is left after over-subtraction, never below the floor."""
    from scipy.ndimage import uniform_filter

    average = uniform_filter(power, (config.average_frames, config.average_bins), mode="nearest")
    taken = np.minimum(noise * np.float32(config.over_subtraction), average) / np.maximum(average, np.float32(1e-30))
    return np.sqrt(np.maximum(1 - taken, np.float32(config.floor_gain**2)))
