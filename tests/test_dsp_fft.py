"""Power spectra of frames: NumPy's FFT in float64 is the oracle, Parseval's theorem the closed form."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asctool.dsp import _fft, _spectra, frames

RNG = np.random.default_rng(0)
LENGTHS = {960: "passes of 8, 5, 4 and 3", 32: "of 8 and 2", 1152: "Phan 2019 at 22.05 kHz", 1008: "scipy, for its 7"}


def power(samples: np.ndarray, begin: int, hop: int, window: np.ndarray, n_frames: int, length: int) -> np.ndarray:
    filled = np.full((n_frames, length // 2 + 1), np.nan, np.float32)
    _spectra.power_of_frames(length)(samples, begin, hop, window, filled)
    return filled


def cut_out(samples: np.ndarray, begin: int, hop: int, window: np.ndarray, n_frames: int) -> np.ndarray:
    around = np.pad(samples.astype(float), 10_000)
    starts = 10_000 + begin + hop * np.arange(n_frames)
    return np.stack([around[start : start + len(window)] for start in starts]) * window


@pytest.mark.parametrize("length", LENGTHS, ids=LENGTHS.values())
def test_power_is_that_of_numpy(length: int) -> None:
    """Frames that begin before a clip, lie inside, cover it whole and end behind it, odd in length; 1e-7 is float32."""
    window = RNG.uniform(0.1, 1, length - 3).astype(np.float32)
    for n_samples in (3 * length + 1, length // 4):
        samples = RNG.normal(size=n_samples).astype(np.float32)
        begin, hop = -(length // 2), length // 3
        expected = np.abs(np.fft.rfft(cut_out(samples, begin, hop, window, 12), length))
        found = np.sqrt(power(samples, begin, hop, window, 12, length))
        largest = expected.max(axis=1, keepdims=True)
        assert (np.abs(found - expected) <= 1e-6 * largest).all()
        assert np.sqrt(np.mean((found - expected) ** 2)) < 2e-7 * np.sqrt(np.mean(expected**2))


def test_parseval_holds_frame_by_frame() -> None:
    samples, window = RNG.normal(size=5000).astype(np.float32), np.ones(960, np.float32)
    bins = power(samples, 0, 960, window, 5, 960).astype(float)
    energy = (cut_out(samples, 0, 960, window, 5) ** 2).sum(axis=1)
    np.testing.assert_allclose((2 * bins.sum(axis=1) - bins[:, 0] - bins[:, -1]) / 960, energy, rtol=1e-6)


def test_a_quiet_frame_hears_nothing_of_a_loud_neighbour() -> None:
    """Frames are transformed one by one: two as one complex sequence would leave -140 dB of the loud one."""
    samples = np.zeros(4 * 1152, np.float32)
    samples[1152 : 2 * 1152] = RNG.normal(size=1152)
    bins = power(samples, 0, 1152, np.ones(1152, np.float32), 4, 1152)
    assert bins[1].min() > 0 and not bins[[0, 2, 3]].any()


def test_every_fast_length_up_to_the_largest_has_a_kernel_and_no_other_has() -> None:
    assert all(_fft.fits(frames.fast_length(n)) for n in range(1, _fft.LARGEST + 1))
    assert not any(map(_fft.fits, (0, 8, 24, 1102, 1008, 2 * _fft.LARGEST)))
    assert not any(_fft.fits(n) for n in range(16, 2000) if frames.fast_length(n) != n)


TWO_OUT_OF_THE_CACHE = """
import os
import numpy as np
from asctool.dsp import _fft

def right(length):
    samples, power = np.random.default_rng(0).normal(size=length).astype("f"), np.empty((1, length // 2 + 1), "f")
    _fft.power_kernel(length)(samples, 0, length, np.ones(length, "f"), power)
    return np.allclose(power, abs(np.fft.rfft(samples)) ** 2, rtol=1e-3, atol=1e-3)

for lengths in ((96,), (32,), (96, 32), (32, 96)):
    child = os.fork()
    if child == 0:
        os._exit(0 if all([right(length) for length in lengths]) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_kernels_of_two_processes_are_not_taken_for_one_another(tmp_path: Path) -> None:
    """Two processes alike compile a length each; two others load both, in either order."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", TWO_OUT_OF_THE_CACHE]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert told.split() == ["0", "0", "0", "0"]
    assert len(list(tmp_path.rglob("*.nbc"))) == 2  # the others compiled nothing
