"""The sequential loop of minimum statistics, compiled; rows are (bin,), numbers in brackets are Martin's equations.

Powers come in scaled to a clip's peak, so that their squares stay within float32.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from asctool.dsp._compiled import TABLE, TO_FILL, VALUES, inlined, kept

TINY = np.float32(1e-18)  # 330 dB below a clip's peak of 1e15: the least power, so that no quotient is undefined
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


class Constants(NamedTuple):
    """What the loop needs, at the hop of the clip; smoothing constants are a frame's."""

    n_sub: int  # sub-windows in the window of the minimum
    sub_length: int  # frames in a sub-window
    alpha_max: np.float32  # of the smoothed power
    alpha_min: np.float32
    correction_memory: np.float32
    beta_max: np.float32  # of the moments of the smoothed power
    snr_exponent: np.float32
    bias_factor: np.float32
    mean_window: np.float32  # M(D), Table III
    mean_sub: np.float32  # M(V)
    inverse_q_max: np.float32  # of the inverse equivalent degrees of freedom
    inverse_q_min: np.float32


class State(NamedTuple):
    """Rows (bin,) that live from frame to frame, and the minima of past sub-windows (sub-window, bin)."""

    smooth: np.ndarray  # P, smoothed power
    estimate: np.ndarray  # of the noise power
    mean: np.ndarray  # of P
    square: np.ndarray  # mean of P^2
    inverse_q: np.ndarray  # 1 / Q_eq
    lowest: np.ndarray  # minimum of this sub-window, compensated for the whole window
    lowest_sub: np.ndarray  # the same, compensated for a sub-window
    changed: np.ndarray  # 1 where this frame lowered the minimum
    candidate: np.ndarray  # 1 where any frame inside this sub-window did
    memory: np.ndarray


class Carried(NamedTuple):
    """What a clip that comes in pieces carries from one to the next; a clip begins with :func:`beginning`."""

    rows: np.ndarray  # (9, bin), those of State
    memory: np.ndarray  # (sub-window, bin)
    totals: np.ndarray  # (3,) correction, sum of the smoothed power, sum of the estimate
    seen: np.ndarray  # (1,) frames that were not silent


def beginning(n_bins: int, n_sub: int) -> Carried:
    """Before the first frame."""
    rows = np.zeros((9, n_bins), np.float32)
    rows[5:7] = np.inf
    memory = np.full((n_sub, n_bins), np.inf, np.float32)
    return Carried(rows, memory, np.ones(3, np.float32), np.zeros(1, np.int64))


def rescale(carried: Carried, factor: float) -> None:
    """Go on at another scale of the power; a power of two rounds nothing but what becomes too small to matter."""
    powers = (carried.rows[0], carried.rows[1], carried.rows[2], carried.rows[5], carried.rows[6], carried.memory)
    for values in powers:
        np.maximum(values * np.float32(factor), TINY, out=values)
    np.maximum(carried.rows[3] * np.float32(factor) ** 2, TINY * TINY, out=carried.rows[3])
    carried.totals[1:] = np.maximum(carried.totals[1:] * np.float32(factor), TINY)


_CONSTANTS = types.NamedTuple((types.int64,) * 2 + (types.float32,) * 10, Constants)  # type: ignore[no-untyped-call]
_CARRIED = types.NamedTuple((TO_FILL, TO_FILL, types.float32[::1], types.int64[::1]), Carried)  # type: ignore[no-untyped-call]


@kept(TABLE, types.float32, _CONSTANTS, VALUES, VALUES, _CARRIED, TO_FILL)
def track(power, scale, constants, slopes, limits, carried, noise):  # type: ignore[no-untyped-def]
    """Fill ``noise`` (frame, bin) from ``power`` (frame, bin); a frame of zeros only repeats the last estimate."""
    n_bins = power.shape[1]
    rows = carried.rows
    state = State(rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7], rows[8], carried.memory)
    row = np.empty(n_bins, np.float32)
    correction, unscale, seen = carried.totals[0], ONE / scale, carried.seen[0]
    smooth_total, estimate_total = carried.totals[1], carried.totals[2]
    for t in range(len(power)):
        total = _scaled(power[t], scale, row)
        if total > TINY:
            if seen == 0:
                smooth_total = estimate_total = _start(row, state)
            correction = _correction(correction, smooth_total / total, constants.correction_memory)
            alpha_top = constants.alpha_max * correction
            alpha_floor = min(constants.alpha_min, (smooth_total / estimate_total) ** constants.snr_exponent)  # (12)
            q_floor = constants.inverse_q_min / np.float32(seen + 1)
            smooth_total, q_mean = _smooth(row, alpha_top, alpha_floor, q_floor, constants, state)
            _lower(ONE + constants.bias_factor * np.sqrt(q_mean), constants, state)
            seen += 1
            if seen % constants.sub_length == 0:
                slot = (seen // constants.sub_length) % constants.n_sub
                estimate_total = _close_sub_window(slot, limits[np.searchsorted(slopes, q_mean, side="right")], state)
            else:
                estimate_total = _follow_down(state)
        for k in range(n_bins):
            noise[t, k] = state.estimate[k] * unscale
    carried.totals[0], carried.totals[1], carried.totals[2] = correction, smooth_total, estimate_total
    carried.seen[0] = seen


@inlined
def _scaled(power, scale, row):  # type: ignore[no-untyped-def]
    total = ZERO
    for k in range(len(row)):
        row[k] = power[k] * scale
        total += row[k]
    return total


@inlined
def _start(row, state):  # type: ignore[no-untyped-def]
    """Begin with the first frame that is not silent; returns its power."""
    total = ZERO
    for k in range(len(row)):
        first = max(row[k], TINY)
        total += first
        state.smooth[k] = first
        state.estimate[k] = first
        state.mean[k] = first
        state.square[k] = first * first
    return total


@inlined
def _correction(correction, ratio, memory):  # type: ignore[no-untyped-def]
    """The factor that lets smoothing go when the smoothed power and the frame's part, (9) and (10)."""
    deviation = ratio - ONE
    return memory * correction + (ONE - memory) * max(ONE / (ONE + deviation * deviation), memory)


@inlined
def _smooth(row, alpha_top, alpha_floor, q_floor, constants, state):  # type: ignore[no-untyped-def]
    """Optimal smoothing (4), (11) and the inverse degrees of freedom (20) to (23).

    Returns the sum of the smoothed power and the mean of the inverse degrees of freedom.
    """
    smooth_total, q_total = ZERO, ZERO
    for k in range(len(row)):
        inverse = ONE / state.estimate[k]  # divisions are what this loop waits for
        excess = state.smooth[k] * inverse - ONE
        alpha = max(alpha_top / (ONE + excess * excess), alpha_floor)
        power = max(alpha * state.smooth[k] + (ONE - alpha) * row[k], TINY)
        beta = min(alpha * alpha, constants.beta_max)
        mean = beta * state.mean[k] + (ONE - beta) * power
        square = beta * state.square[k] + (ONE - beta) * power * power
        inverse_q = (square - mean * mean) * (inverse * inverse) / TWO
        inverse_q = max(min(inverse_q, constants.inverse_q_max), q_floor)
        state.smooth[k] = power
        state.mean[k] = mean
        state.square[k] = square
        state.inverse_q[k] = inverse_q
        smooth_total += power
        q_total += inverse_q
    return smooth_total, q_total / np.float32(len(row))


@inlined
def _lower(correction, constants, state):  # type: ignore[no-untyped-def]
    """Take smoothed power times its bias compensation, (17) and B_c, into the minima where it is below them."""
    gain_window = TWO * np.float32(constants.n_sub * constants.sub_length - 1) * (ONE - constants.mean_window)
    gain_sub = TWO * np.float32(constants.sub_length - 1) * (ONE - constants.mean_sub)
    for k in range(len(state.smooth)):
        inverse_q, value = state.inverse_q[k], correction * state.smooth[k]
        below_window = ONE - TWO * constants.mean_window * inverse_q
        below_sub = ONE - TWO * constants.mean_sub * inverse_q
        scaled = value * inverse_q / (below_window * below_sub)
        whole = value + gain_window * below_sub * scaled
        sub = value + gain_sub * below_window * scaled
        before, before_sub = state.lowest[k], state.lowest_sub[k]
        is_lower = whole < before
        state.lowest[k] = whole if is_lower else before
        state.lowest_sub[k] = sub if is_lower else before_sub
        state.changed[k] = ONE if is_lower else ZERO


@inlined
def _follow_down(state):  # type: ignore[no-untyped-def]
    """Inside a sub-window the estimate can fall at once; in its first frame too, which the paper leaves out.

    Without that, a fall waits up to two frames at the border between sub-windows. Returns the sum of the estimate.
    """
    total = ZERO
    for k in range(len(state.estimate)):
        state.candidate[k] = max(state.candidate[k], state.changed[k])
        estimate = max(min(state.estimate[k], state.lowest_sub[k]), TINY)
        state.estimate[k] = estimate
        total += estimate
    return total


@inlined
def _close_sub_window(slot, limit, state):  # type: ignore[no-untyped-def]
    """The minimum over all sub-windows, or a local minimum above it that rises by less than ``limit`` (Fig. 5).

    Returns the sum of the estimate.
    """
    n_bins = len(state.estimate)
    state.memory[slot] = state.lowest
    state.estimate[:] = state.lowest
    for u in range(len(state.memory)):
        for k in range(n_bins):
            state.estimate[k] = min(state.estimate[k], state.memory[u, k])
    total, n_local = ZERO, ZERO
    for k in range(n_bins):
        overall, local = max(state.estimate[k], TINY), state.lowest_sub[k]
        is_local = (state.candidate[k] > state.changed[k]) & (local > overall) & (local < limit * overall)
        estimate = local if is_local else overall
        state.estimate[k] = estimate
        state.candidate[k] = ONE if is_local else ZERO
        state.lowest[k] = np.float32(np.inf)
        state.lowest_sub[k] = np.float32(np.inf)
        total += estimate
        n_local += state.candidate[k]
    if n_local > ZERO:
        for u in range(len(state.memory)):
            for k in range(n_bins):
                past = state.memory[u, k]
                state.memory[u, k] = state.estimate[k] if state.candidate[k] > ZERO else past
        state.candidate[:] = ZERO
    return total
