"""Short-time power spectra: clips (samples,), spectra (frame, bin), band powers (band, frame).

Frame t is centred at sample t * hop; beyond the clip's ends are zeros. Power is |STFT|^2 / (sum of the window)^2, so
that a level does not depend on the frame's length: a full-scale sine has a peak of 1/4.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from asctool.dsp.filterbanks import Part
from asctool.errors import UsageError
from asctool.registry import unknown

if TYPE_CHECKING:
    import torch

BLOCK_FRAMES = 96  # spectra held at once: 0.2 MB at 1152 points, a part of the second-level cache
WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46)}  # a - b cos(2 pi n / N)


@dataclass(frozen=True)
class Layout:
    """How a clip is cut into frames: lengths in samples, and the window's name."""

    frame: int
    hop: int
    fft: int
    window: str


def layout(frame: int, hop: int, window_name: str) -> Layout:
    """The layout with the shortest FFT that is both long enough and fast."""
    return Layout(frame, hop, fast_length(frame), window_name)


@lru_cache(maxsize=64)
def fast_length(n_samples: int) -> int:
    """The smallest multiple of 16 at or above ``n_samples`` with no prime factor above 5 (1102 -> 1152)."""
    length = -(-n_samples // 16) * 16
    while scipy.fft.next_fast_len(length, real=True) != length:
        length += 16
    return length


def count(n_samples: int, hop: int) -> int:
    """Frames of a clip: one a whole hop, at least one."""
    return max(1, n_samples // hop)


@lru_cache(maxsize=64)
def window(name: str, length: int) -> np.ndarray:
    """A periodic window (length,), float64, read-only."""
    if name not in WINDOWS:
        raise UsageError(unknown("window", name, sorted(WINDOWS)))
    constant, cosine = WINDOWS[name]
    values = constant - cosine * np.cos(2 * np.pi * np.arange(length) / length)
    values.setflags(write=False)
    return values


@lru_cache(maxsize=64)
def _scaled_window(name: str, length: int) -> np.ndarray:
    values = window(name, length)
    scaled = (values / values.sum()).astype(np.float32)
    scaled.setflags(write=False)
    return scaled


def band_power(samples: np.ndarray, cut: Layout, bank: tuple[Part, ...]) -> np.ndarray:
    """Power spectra summed into bands: samples (n,) -> (band, frame), float32."""
    from asctool.dsp import _spectra  # numba takes 0.4 s to import

    samples = np.ascontiguousarray(samples, np.float32)
    scaled = _scaled_window(cut.window, cut.frame)
    fill = _spectra.power_of_frames(cut.fft)
    n_frames = count(len(samples), cut.hop)
    bands = np.empty((bank[-1].bands.stop, n_frames), np.float32)
    block = np.empty((min(BLOCK_FRAMES, n_frames), cut.fft // 2 + 1), np.float32)
    sums = np.empty((len(block), len(bands)), np.float32)
    for start in range(0, n_frames, BLOCK_FRAMES):
        rows = min(BLOCK_FRAMES, n_frames - start)
        power, summed = block[:rows], sums[:rows]
        fill(samples, start * cut.hop - before(cut.frame), cut.hop, scaled, power)
        for part in bank:
            np.matmul(power[:, part.bins], part.weights, out=summed[:, part.bands])
        bands[:, start : start + rows] = summed.T
    return bands


def before(frame: int) -> int:
    """Samples of a frame that lie before its centre; the left half of an odd frame is the longer one, as in librosa."""
    return (frame + 1) // 2


def band_power_batch(samples: "torch.Tensor", cut: Layout, weights: np.ndarray) -> "torch.Tensor":
    """The same in torch on the samples' device: (batch, n), weights (bin, band) -> (batch, band, frame)."""
    import torch

    n_frames = count(samples.shape[-1], cut.hop)
    behind = max(0, (n_frames - 1) * cut.hop + cut.frame - before(cut.frame) - samples.shape[-1])
    padded = torch.nn.functional.pad(samples.float(), (before(cut.frame), behind))
    cut_out = padded.unfold(-1, cut.frame, cut.hop)[:, :n_frames]
    window = torch.tensor(_scaled_window(cut.window, cut.frame), device=samples.device)
    spectrum = torch.view_as_real(torch.fft.rfft(cut_out * window, cut.fft))
    power = spectrum.square().sum(dim=-1)
    return (power @ torch.tensor(weights, device=samples.device)).transpose(1, 2)
