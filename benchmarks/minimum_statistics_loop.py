"""Minimum statistics as one writes it in NumPy, a loop over frames: the yardstick of speed, and an oracle in tests.

Martin 2001; power (frame, bin) without digital silence -> noise power (frame, bin), float64.
"""

import numpy as np

TABLE = np.array(  # length D in frames, mean of the minimum M(D)
    [(1, 0), (2, 0.26), (5, 0.48), (8, 0.58), (10, 0.61), (15, 0.668), (20, 0.705), (30, 0.762), (40, 0.8), (60, 0.841)]
    + [(80, 0.865), (120, 0.89), (140, 0.9), (160, 0.91), (180, 0.92), (220, 0.93), (260, 0.935), (300, 0.94)]
)
SLOPES = ((0.03, 47), (0.05, 31.4), (0.06, 15.7), (np.inf, 4.1))  # mean inverse degrees of freedom, dB a second


def minimum_statistics(
    power: np.ndarray, hop_seconds: float, n_sub: int = 8, window_seconds: float = 1.408
) -> np.ndarray:
    """The estimate after each frame."""
    length = max(4, round(window_seconds / (hop_seconds * n_sub)))
    n_sub = round(window_seconds / (hop_seconds * length))
    alpha_max, alpha_min, memory, beta_max = np.exp(-hop_seconds / np.array([0.392, 0.0133, 0.0449, 0.0717]))
    m_window, m_sub = np.interp(np.sqrt([n_sub * length, length]), np.sqrt(TABLE[:, 0]), TABLE[:, 1])
    smooth, estimate, mean, square = power[0].copy(), power[0].copy(), power[0].copy(), power[0] ** 2
    past = np.full((n_sub, power.shape[1]), np.inf)
    lowest, lowest_sub = past[0].copy(), past[0].copy()
    candidate = np.zeros(power.shape[1], bool)
    correction, noise = 1.0, np.empty(power.shape)
    for t, frame in enumerate(power, start=1):
        instant = 1 / (1 + (smooth.sum() / frame.sum() - 1) ** 2)
        correction = memory * correction + (1 - memory) * max(instant, memory)
        alpha = alpha_max * correction / (1 + (smooth / estimate - 1) ** 2)
        alpha = np.maximum(alpha, min(alpha_min, (smooth.sum() / estimate.sum()) ** (-hop_seconds / 0.064)))
        smooth = alpha * smooth + (1 - alpha) * frame
        beta = np.minimum(alpha**2, beta_max)
        mean = beta * mean + (1 - beta) * smooth
        square = beta * square + (1 - beta) * smooth**2
        inverse_q = np.clip((square - mean**2) / (2 * estimate**2), 1 / 14 / t, 1 / 2)
        value = (1 + 2.12 * np.sqrt(inverse_q.mean())) * smooth
        b_window = 1 + 2 * (n_sub * length - 1) * (1 - m_window) / (1 / inverse_q - 2 * m_window)
        b_sub = 1 + 2 * (length - 1) * (1 - m_sub) / (1 / inverse_q - 2 * m_sub)
        lower = value * b_window < lowest
        lowest[lower], lowest_sub[lower] = (value * b_window)[lower], (value * b_sub)[lower]
        if t % length:
            candidate |= lower
            estimate = np.minimum(estimate, lowest_sub)
        else:
            past[t // length % n_sub] = lowest
            estimate = past.min(axis=0)
            rate = next(rate for bound, rate in SLOPES if inverse_q.mean() < bound)
            limit = 10 ** (rate * length * hop_seconds / 10)
            local = candidate & ~lower & (lowest_sub > estimate) & (lowest_sub < limit * estimate)
            estimate[local] = lowest_sub[local]
            past[:, local] = lowest_sub[local]
            lowest[:], lowest_sub[:], candidate[:] = np.inf, np.inf, False
        noise[t - 1] = estimate
    return noise
