"""Cutting the frames of a clip into segments of equal length."""

import numpy as np


def starts(n_frames: int, length: int, hop: int) -> list[int]:
    """First frame of each segment; the last one is aligned to the clip's end, so that it may overlap its neighbour.

    A clip no longer than a segment is one segment.
    """
    if n_frames <= length:
        return [0]
    last = n_frames - length
    return [*range(0, last, hop), last]


def cut(frames: np.ndarray, length: int, hop: int) -> list[np.ndarray]:
    """(..., frame) -> a view (..., length) for each segment; the clip must be as long as a segment at least."""
    return [frames[..., first : first + length] for first in starts(frames.shape[-1], length, hop)]


def audible(peaks_db: np.ndarray, silence_db: float | None) -> np.ndarray:
    """Indices of segments whose peak (segment,) is above a level; of a clip that has none, that of the loudest."""
    if silence_db is None:
        return np.arange(len(peaks_db))
    kept = np.flatnonzero(peaks_db > silence_db)
    return kept if len(kept) else np.array([np.argmax(peaks_db)])
