"""Power spectra of a clip's frames at any length of the FFT: own kernels, or scipy.fft between compiled loops."""

import numpy as np
import scipy.fft
from numba import types

from asctool.dsp import _fft
from asctool.dsp._compiled import TABLE, TO_FILL, VALUES, kept


def power_of_frames(length: int) -> _fft.Kernel:
    """A function (samples, begin, hop, window, power) that fills power (frame, bin) with squared magnitudes.

    Frames are cut from samples, the first one at ``begin``, multiplied by the window and zero-padded to ``length``.
    """
    if _fft.fits(length):
        return _fft.power_kernel(length)

    def fill(samples: np.ndarray, begin: int, hop: int, window: np.ndarray, power: np.ndarray) -> None:
        padded = np.zeros((len(power), length), np.float32)
        window_frames(samples, begin, hop, window, padded)
        square(scipy.fft.rfft(padded).view(np.float32), power)

    return fill


@kept(VALUES, types.int64, types.int64, VALUES, TO_FILL)
def window_frames(samples, begin, hop, window, frames):  # type: ignore[no-untyped-def]
    """Fill the first columns of ``frames`` with windowed samples."""
    for i in range(len(frames)):
        _fft.cut_out(samples, begin + i * hop, window, frames[i])


@kept(TABLE, TO_FILL)
def square(parts, power):  # type: ignore[no-untyped-def]
    """Fill ``power`` (frame, bin) from real and imaginary parts in turn (frame, 2 bin)."""
    for i in range(len(power)):
        for k in range(power.shape[1]):
            power[i, k] = parts[i, 2 * k] * parts[i, 2 * k] + parts[i, 2 * k + 1] * parts[i, 2 * k + 1]
