"""SpecAugment (Park et al. 2019) without warping: masks over bands and over frames of features (..., band, frame)."""

from dataclasses import dataclass

import numpy as np

from asctool.errors import UsageError

Span = tuple[int, int]  # first, one past the last


@dataclass(frozen=True)
class Config:
    """Two masks each; their widths are uniform from 0 to the widest."""

    band_masks: int = 2
    widest_bands: int = 12
    frame_masks: int = 2
    widest_frames: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise UsageError(f"{name} {value} must be at least 0")


@dataclass(frozen=True)
class Parameters:
    """Spans of bands and of frames; they may overlap."""

    bands: tuple[Span, ...]
    frames: tuple[Span, ...]


def draw(generator: np.random.Generator, config: Config, n_bands: int, n_frames: int) -> Parameters:
    """Masks for features of this size, placed uniformly; no mask is wider than the features."""
    return Parameters(
        _spans(generator, config.band_masks, config.widest_bands, n_bands),
        _spans(generator, config.frame_masks, config.widest_frames, n_frames),
    )


def _spans(generator: np.random.Generator, n_masks: int, widest: int, size: int) -> tuple[Span, ...]:
    widths = generator.integers(0, min(widest, size) + 1, n_masks)
    firsts = generator.integers(0, size - widths + 1)
    return tuple((int(first), int(first + width)) for first, width in zip(firsts, widths))


def apply(features: np.ndarray, parameters: Parameters) -> np.ndarray:
    """A copy whose masked parts hold the mean of their own (band, frame) plane, which is 0 for normalised features."""
    masked = features.copy()
    mean = features.mean(axis=(-2, -1), keepdims=True)
    for first, end in parameters.bands:
        masked[..., first:end, :] = mean
    for first, end in parameters.frames:
        masked[..., first:end] = mean
    return masked
