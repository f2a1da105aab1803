"""The loops around the FFT, compiled: windowing (frame, sample) and squared magnitudes (frame, bin)."""

import numba

compiled = numba.njit(cache=True, fastmath={"contract", "nsz", "arcp", "reassoc"}, error_model="numpy")


@compiled
def window_frames(samples, begin, hop, window, frames):  # type: ignore[no-untyped-def]
    """Fill the first columns of ``frames`` with windowed samples; the first frame begins at ``begin``, 0 or below."""
    length = len(window)
    for i in range(len(frames)):
        start = begin + i * hop
        inside = min(max(0, -start), length)
        outside = max(inside, min(length, len(samples) - start))
        heard = samples[start + inside : start + outside]  # a slice: indices that may be negative are not vectorised
        frame, weights = frames[i, inside:outside], window[inside:outside]
        for j in range(len(heard)):
            frame[j] = heard[j] * weights[j]
        frames[i, :inside] = 0
        frames[i, outside:length] = 0


@compiled
def square(parts, power):  # type: ignore[no-untyped-def]
    """Fill ``power`` (frame, bin) from real and imaginary parts in turn (frame, 2 bin)."""
    for i in range(len(power)):
        for k in range(power.shape[1]):
            power[i, k] = parts[i, 2 * k] * parts[i, 2 * k] + parts[i, 2 * k + 1] * parts[i, 2 * k + 1]
