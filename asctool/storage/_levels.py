"""Levels of decoded samples: what no sound has is refused, what may be a slip is told."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from asctool.storage._source import Source

# Peaks, full scale being 1
MAX_PEAK = 2.0**31  # 32-bit integers stored as floats, unscaled; of more, the power overflows
OVER = 1.1  # lossy codecs overshoot by a few per cent
CLIPPED = 32767 / 32768
FAINT = 1e-6  # -120 dB, three steps of 24 bits
MAX_CLIPPED_SHARE = 0.001  # a normalised recording touches full scale now and then
MAX_OFFSET = 0.1


def check_range(low: Any, high: Any, source: Source) -> None:
    """DataError where the lowest or highest sample is not finite, or beyond all sound."""
    for value in (low, high):
        if not abs(value) <= MAX_PEAK:  # true of NaN too
            raise source.error(f"holds a sample of {value:g}, which no sound has; mend what wrote it")


@dataclass(frozen=True)
class Levels:
    """Of each channel: lowest and highest sample, their mean; of all: the share at full scale."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    clipped: float
    frames: int

    def __add__(self, other: "Levels") -> "Levels":
        frames = self.frames + other.frames
        weight = other.frames / frames
        return Levels(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.mean + (other.mean - self.mean) * weight,
            self.clipped + (other.clipped - self.clipped) * weight,
            frames,
        )


def levels_of(block: np.ndarray, full_scale: int, source: Source) -> Levels:
    """Levels of decoded (frame, channel); DataError where a sample is none."""
    samples = np.ascontiguousarray(block.T)
    low, high = samples.min(1) / full_scale, samples.max(1) / full_scale
    check_range(low.min(), high.max(), source)
    clipped = 0.0
    if max(-low.min(), high.max()) >= CLIPPED:
        limit = CLIPPED * full_scale
        clipped = (np.count_nonzero(samples >= limit) + np.count_nonzero(samples <= -limit)) / samples.size
    return Levels(low, high, samples.mean(1, dtype=np.float64) / full_scale, clipped, len(block))


def oddities(levels: Levels) -> Iterator[str]:
    """What is read as it is, but may be a slip."""
    peak = float(max(-levels.low.min(), levels.high.max()))
    offset = float(np.abs(levels.mean).max())
    if peak == 0:
        yield "digital silence"
    elif peak < FAINT:
        yield f"peaks at {20 * np.log10(peak):.0f} dB only"
    elif peak > OVER:
        yield f"peaks at {peak:.3g} times full scale"
    elif levels.clipped > MAX_CLIPPED_SHARE:
        yield f"clipped: {levels.clipped:.1%} of the samples are at full scale"
    if MAX_OFFSET < offset <= 1:
        yield f"a constant offset of {offset:.2f}"
