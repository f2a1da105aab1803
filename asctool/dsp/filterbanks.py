"""Filter banks as weights on FFT bins, (bin, band), float32, read-only, and their centres, (band,), in Hz."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

EAR_Q = 9.26449  # Glasberg and Moore 1990: ERB(f) = f / EAR_Q + MIN_BANDWIDTH_HZ
MIN_BANDWIDTH_HZ = 24.7
BANDWIDTH_FACTOR = 1.019  # bandwidth of a fourth-order gammatone whose equivalent rectangular bandwidth is one ERB
ORDER = 4
PART_BANDS = 32  # bands multiplied at once; half of them where that leaves out many bins. 8 and 64 are slower


class Part(NamedTuple):
    """Some bands side by side, and the bins that they touch: weights (bin, band) of these alone."""

    bins: slice
    bands: slice
    weights: np.ndarray


def parts(weights: np.ndarray) -> tuple[Part, ...]:
    """A bank (bin, band) without the bins that a group of bands leaves out: less than a third of a mel bank remains."""
    n_bins, n_bands = weights.shape
    chosen = []
    for start in range(0, n_bands, PART_BANDS):
        stop, middle = min(start + PART_BANDS, n_bands), start + PART_BANDS // 2
        whole = _part(weights, start, stop)
        halves = [_part(weights, start, middle), _part(weights, middle, stop)] if middle < stop else [whole]
        spared = 2 * len(whole.weights) - sum(len(half.weights) for half in halves)
        chosen += halves if spared > n_bins / 4 else [whole]
    return tuple(chosen)


def _part(weights: np.ndarray, start: int, stop: int) -> Part:
    touched = np.flatnonzero(weights[:, start:stop].any(axis=1))
    bins = slice(int(touched[0]), int(touched[-1]) + 1)
    return Part(bins, slice(start, stop), _frozen(weights[bins, start:stop]))


def hz_to_mel(hz: np.ndarray, scale: str) -> np.ndarray:
    """Mel of frequencies in Hz: ``htk`` is 2595 log10(1 + f/700); ``slaney`` is linear to 1 kHz, then logarithmic."""
    hz = np.asarray(hz, float)
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    return np.where(hz < 1000.0, hz * 3 / 200, 15 + np.log(np.maximum(hz, 1000.0) / 1000.0) * 27 / np.log(6.4))


def mel_to_hz(mel: np.ndarray, scale: str) -> np.ndarray:
    """Frequencies in Hz of mel values, the inverse of ``hz_to_mel``."""
    mel = np.asarray(mel, float)
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15.0, mel * 200 / 3, 1000.0 * np.exp((np.maximum(mel, 15.0) - 15) * np.log(6.4) / 27))


def mel_edges(n_bands: int, f_min_hz: float, f_max_hz: float, scale: str) -> np.ndarray:
    """Corners of the triangles, (n_bands + 2,) Hz, equally spaced in mel: band b peaks at corner b + 1."""
    low, high = hz_to_mel(np.array([f_min_hz, f_max_hz]), scale)
    return mel_to_hz(np.linspace(low, high, n_bands + 2), scale)


@lru_cache(maxsize=32)
def mel_weights(sample_rate: int, fft: int, n_bands: int, f_min_hz: float, f_max_hz: float, scale: str) -> np.ndarray:
    """Triangles with a peak of one; a band narrower than a bin can be empty."""
    edges = mel_edges(n_bands, f_min_hz, f_max_hz, scale)
    hz = np.arange(fft // 2 + 1)[:, None] * sample_rate / fft
    rising = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return _frozen(np.maximum(0.0, np.minimum(rising, falling)))


def erb_frequencies(n_bands: int, f_min_hz: float, f_max_hz: float) -> np.ndarray:
    """Centres equally spaced on the ERB scale, ascending from ``f_min_hz``; ``f_max_hz`` is one step above the last.

    Slaney 1993 (Apple TR 35), ERBSpace.
    """
    offset = EAR_Q * MIN_BANDWIDTH_HZ
    steps = np.arange(n_bands, 0, -1) / n_bands
    return (f_max_hz + offset) * ((f_min_hz + offset) / (f_max_hz + offset)) ** steps - offset


def erb_hz(centres_hz: np.ndarray) -> np.ndarray:
    """Equivalent rectangular bandwidths of an ear's filters at these centres."""
    return centres_hz / EAR_Q + MIN_BANDWIDTH_HZ


@lru_cache(maxsize=32)
def gammatone_sections(
    sample_rate: int, n_bands: int, f_min_hz: float, f_max_hz: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slaney's four second-order sections a band, gain one at the centre, float64.

    Section s of band b is (1 + zeros[s, b] / z) / (1 + poles[0, b] / z + poles[1, b] / z^2), times gain[b] once.
    Returns zeros (4, band), poles (2, band), gain (band,). Slaney 1993, MakeERBFilters.
    """
    centres = erb_frequencies(n_bands, f_min_hz, f_max_hz)
    angle = 2 * np.pi * centres / sample_rate
    radius = np.exp(-2 * np.pi * BANDWIDTH_FACTOR * erb_hz(centres) / sample_rate)
    roots = np.array([np.sqrt(3 + 2**1.5), -np.sqrt(3 + 2**1.5), np.sqrt(3 - 2**1.5), -np.sqrt(3 - 2**1.5)])
    zeros = -radius * (np.cos(angle) + roots[:, None] * np.sin(angle))
    poles = np.stack([-2 * radius * np.cos(angle), radius**2])
    gain = 1 / np.abs(_sections_response(np.exp(-1j * angle), zeros, poles))
    return zeros, poles, gain


def _sections_response(delay: np.ndarray, zeros: np.ndarray, poles: np.ndarray) -> np.ndarray:
    """Transfer function at delay = 1/z, broadcast against the bands."""
    numerator = np.prod(1 + zeros.reshape(ORDER, *(1,) * (delay.ndim - 1), -1) * delay, axis=0)
    return numerator / (1 + poles[0] * delay + poles[1] * delay**2) ** ORDER


@lru_cache(maxsize=32)
def gammatone_weights(
    sample_rate: int, fft: int, n_bands: int, f_min_hz: float, f_max_hz: float, negligible: float
) -> np.ndarray:
    """Squared magnitude responses of the gammatone filters, for power spectra; zero where below ``negligible``.

    Squared, since power is what adds over bins: magnitudes summed make wide bands 6 to 8 dB too strong.
    """
    zeros, poles, gain = gammatone_sections(sample_rate, n_bands, f_min_hz, f_max_hz)
    delay = np.exp(-2j * np.pi * np.arange(fft // 2 + 1)[:, None] / fft)
    weights = np.abs(_sections_response(delay, zeros, poles) * gain) ** 2
    return _frozen(np.where(weights < negligible, 0, weights))


def _frozen(weights: np.ndarray) -> np.ndarray:
    weights = np.ascontiguousarray(weights, np.float32)
    weights.setflags(write=False)
    return weights
