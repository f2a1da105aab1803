"""The gammatone filter bank in time: samples (n,) -> band powers (band, frame), framed as ``frames`` does."""

from functools import lru_cache

import numpy as np
from numba import types

from asctool.dsp import filterbanks, frames
from asctool.dsp._compiled import TABLE, TO_FILL, VALUES, inlined, kept

LANES = 64  # bands abreast: a constant, so that loops over them are vectorised whole; with 16 or 32 they are not
BLOCK = 128  # samples whose squares wait for their frames, 32 kB: they stay in the first-level cache
QUIET = np.float32(1e-24)  # filter states below are zeroed: after silence they would decay into slow denormal numbers


def band_power(
    samples: np.ndarray, cut: frames.Layout, sample_rate: int, n_bands: int, f_min_hz: float, f_max_hz: float
) -> np.ndarray:
    """Mean square of every filter's output under the squared window, (band, frame), float32.

    Scaled as power spectra summed with ``gammatone_weights`` are, so that both methods give one level.
    """
    weight = _weight(cut)
    before = frames.before(cut.frame)
    n_frames = frames.count(len(samples), cut.hop)
    n_samples = (n_frames - 1) * cut.hop + cut.frame - before
    padded = np.zeros(-(-n_samples // BLOCK) * BLOCK, np.float32)
    padded[: min(len(samples), n_samples)] = samples[:n_samples]
    powers = np.zeros((-(-n_bands // LANES), n_frames, LANES), np.float32)
    for power, (zeros, poles, gain) in zip(powers, _banks(sample_rate, n_bands, f_min_hz, f_max_hz)):
        _filter(padded, zeros, poles, weight, cut.hop, before, power)
        power *= gain**2
    return np.ascontiguousarray(powers.transpose(0, 2, 1)).reshape(-1, n_frames)[:n_bands]


@lru_cache(maxsize=16)
def _weight(cut: frames.Layout) -> np.ndarray:
    """The squared window, scaled: the sum over bins of |STFT|^2 / (sum of window)^2 is half the FFT's length of it."""
    window = frames.window(cut.window, cut.frame)
    return (window**2 * cut.fft / (2 * window.sum() ** 2)).astype(np.float32)


@lru_cache(maxsize=16)
def _banks(sample_rate: int, n_bands: int, f_min_hz: float, f_max_hz: float) -> list[tuple[np.ndarray, ...]]:
    """Coefficients in float32, ``LANES`` bands at a time, the last ones filled up with silent filters."""
    fill = -n_bands % LANES
    sections = filterbanks.gammatone_sections(sample_rate, n_bands, f_min_hz, f_max_hz)
    filled = [np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, fill)]).astype(np.float32) for part in sections]
    starts = range(0, n_bands, LANES)
    return [tuple(np.ascontiguousarray(part[..., k : k + LANES]) for part in filled) for k in starts]


@kept(VALUES, TABLE, TABLE, VALUES, types.int64, types.int64, TO_FILL)
def _filter(samples, zeros, poles, weight, hop, before, powers):  # type: ignore[no-untyped-def]
    """Four sections in direct form I, four samples at a time, all lanes abreast; add squares to the frames they lie in.

    Every row is an array of its own, made here: only then does the compiler know that none overlaps another.
    """
    z0, z1, z2, z3 = zeros[0].copy(), zeros[1].copy(), zeros[2].copy(), zeros[3].copy()
    p0, p1 = poles[0].copy(), poles[1].copy()
    last0, last1 = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)  # a section's output, one sample ago
    last2, last3 = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    past0, past1 = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)  # two samples ago
    past2, past3 = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    squares = np.zeros((BLOCK, LANES), np.float32)
    previous = np.float32(0)
    for start in range(0, len(samples), BLOCK):
        for n in range(0, BLOCK, 4):
            place = start + n
            i0, i1, i2, i3 = samples[place], samples[place + 1], samples[place + 2], samples[place + 3]
            s0, s1, s2, s3 = squares[n], squares[n + 1], squares[n + 2], squares[n + 3]
            for b in range(LANES):
                q0, q1 = p0[b], p1[b]
                y0, ym = last0[b], past0[b]
                y1 = i0 + z0[b] * previous - q0 * y0 - q1 * ym
                y2 = i1 + z0[b] * i0 - q0 * y1 - q1 * y0
                y3 = i2 + z0[b] * i1 - q0 * y2 - q1 * y1
                y4 = i3 + z0[b] * i2 - q0 * y3 - q1 * y2
                past0[b], last0[b] = y3, y4
                x0, xm = last1[b], past1[b]
                x1 = y1 + z1[b] * y0 - q0 * x0 - q1 * xm
                x2 = y2 + z1[b] * y1 - q0 * x1 - q1 * x0
                x3 = y3 + z1[b] * y2 - q0 * x2 - q1 * x1
                x4 = y4 + z1[b] * y3 - q0 * x3 - q1 * x2
                past1[b], last1[b] = x3, x4
                y0, ym = last2[b], past2[b]
                y1 = x1 + z2[b] * x0 - q0 * y0 - q1 * ym
                y2 = x2 + z2[b] * x1 - q0 * y1 - q1 * y0
                y3 = x3 + z2[b] * x2 - q0 * y2 - q1 * y1
                y4 = x4 + z2[b] * x3 - q0 * y3 - q1 * y2
                past2[b], last2[b] = y3, y4
                x0, xm = last3[b], past3[b]
                x1 = y1 + z3[b] * y0 - q0 * x0 - q1 * xm
                x2 = y2 + z3[b] * y1 - q0 * x1 - q1 * x0
                x3 = y3 + z3[b] * y2 - q0 * x2 - q1 * x1
                x4 = y4 + z3[b] * y3 - q0 * x3 - q1 * x2
                past3[b], last3[b] = x3, x4
                s0[b] = x1 * x1
                s1[b] = x2 * x2
                s2[b] = x3 * x3
                s3[b] = x4 * x4
            previous = i3
        place = start + before
        for t in range(max(0, (place - len(weight)) // hop + 1), min((place + BLOCK - 1) // hop + 1, len(powers))):
            _add(squares, weight, place - t * hop, powers[t])
        for b in range(LANES):
            last0[b] = last0[b] if abs(last0[b]) > QUIET else np.float32(0)
            last1[b] = last1[b] if abs(last1[b]) > QUIET else np.float32(0)
            last2[b] = last2[b] if abs(last2[b]) > QUIET else np.float32(0)
            last3[b] = last3[b] if abs(last3[b]) > QUIET else np.float32(0)
            past0[b] = past0[b] if abs(past0[b]) > QUIET else np.float32(0)
            past1[b] = past1[b] if abs(past1[b]) > QUIET else np.float32(0)
            past2[b] = past2[b] if abs(past2[b]) > QUIET else np.float32(0)
            past3[b] = past3[b] if abs(past3[b]) > QUIET else np.float32(0)


@inlined
def _add(squares, weight, offset, power):  # type: ignore[no-untyped-def]
    """Add to one frame's ``power`` the squares (sample, lane), the first of which has place ``offset`` in the frame."""
    energy = np.zeros(LANES, np.float32)
    n, stop = max(0, -offset), min(len(squares), len(weight) - offset)
    while n + 4 <= stop:
        w0, w1, w2, w3 = weight[offset + n], weight[offset + n + 1], weight[offset + n + 2], weight[offset + n + 3]
        s0, s1, s2, s3 = squares[n], squares[n + 1], squares[n + 2], squares[n + 3]
        for b in range(LANES):
            energy[b] += w0 * s0[b] + w1 * s1[b] + w2 * s2[b] + w3 * s3[b]
        n += 4
    while n < stop:
        w0, s0 = weight[offset + n], squares[n]
        for b in range(LANES):
            energy[b] += w0 * s0[b]
        n += 1
    for b in range(LANES):
        power[b] += energy[b]
