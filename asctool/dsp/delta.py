"""Differences along time by regression: features (..., band, frame)."""

from typing import TYPE_CHECKING

import numpy as np

from asctool.errors import UsageError

if TYPE_CHECKING:
    import torch


def delta(features: np.ndarray, width: int = 9) -> np.ndarray:
    """Slope a frame of the straight line through ``width`` frames, same shape; the edge frames are repeated outside.

    Furui 1986: sum of k x(t + k) over sum of k^2, k from -half to half.
    """
    half, scale = _half_width(width), _scale(width)
    n_frames = features.shape[-1]
    padded = np.pad(features, [(0, 0)] * (features.ndim - 1) + [(half, half)], mode="edge")
    slope = np.zeros_like(features, dtype=np.result_type(features, np.float32))
    for k in range(1, half + 1):
        ahead = padded[..., half + k : half + k + n_frames]
        slope += slope.dtype.type(k * scale) * (ahead - padded[..., half - k : half - k + n_frames])
    return slope


def delta_batch(features: "torch.Tensor", width: int = 9) -> "torch.Tensor":
    """The same in torch: features (..., band, frame) on any device."""
    import torch

    half, scale = _half_width(width), _scale(width)
    n_frames = features.shape[-1]
    first, last = features[..., :1], features[..., -1:]
    padded = torch.cat([*[first] * half, features, *[last] * half], dim=-1)
    slope = torch.zeros_like(features)
    for k in range(1, half + 1):
        ahead = padded[..., half + k : half + k + n_frames]
        slope += k * scale * (ahead - padded[..., half - k : half - k + n_frames])
    return slope


def _half_width(width: int) -> int:
    """Frames on either side of the middle one; a width that has no middle raises UsageError."""
    if width < 3 or width % 2 == 0:
        raise UsageError(f"delta width {width} must be odd and at least 3")
    return width // 2


def _scale(width: int) -> float:
    """One over the sum of k^2, from -half to half."""
    return 12 / (width * (width**2 - 1))
