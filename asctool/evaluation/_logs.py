"""Probabilities in the log domain; the last axis is the class."""

import numpy as np

FLOOR = 1e-12  # of a posterior before its logarithm: one segment's rounded zero must not veto a class for good


def floored_log(posteriors: np.ndarray) -> np.ndarray:
    """Natural logarithm, float64, of posteriors no smaller than the floor."""
    return np.log(np.maximum(posteriors, FLOOR, dtype=np.float64))


def log_mix(weights: np.ndarray, posteriors: np.ndarray) -> np.ndarray:
    """Weighted sum of log posteriors (row, class) of systems (system, row, class), one at a time to spare memory."""
    total = np.zeros(posteriors.shape[1:])
    for weight, system in zip(weights, posteriors):
        total += weight * floored_log(system)
    return total


def softmax(logs: np.ndarray) -> np.ndarray:
    """Probabilities that sum to one, whatever the scale of the logs."""
    values = np.exp(logs - logs.max(-1, keepdims=True))
    return values / values.sum(-1, keepdims=True)
