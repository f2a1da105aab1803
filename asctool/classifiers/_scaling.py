"""Standardising features (row, dim): an SVM with a small c sees nothing of features that are tiny in scale."""

import numpy as np


def statistics(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (dim,); a dimension that does not vary, but for rounding, is only centred."""
    mean, deviation = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    rounding = np.finfo(features.dtype if features.dtype.kind == "f" else np.float64).eps * np.abs(mean)
    return mean, np.where(deviation > rounding, deviation, 1.0)


def standardise(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """float32 for features of 32 bits or fewer, else float64."""
    return ((features - mean) / scale).astype(np.float32 if features.dtype.itemsize <= 4 else np.float64)
