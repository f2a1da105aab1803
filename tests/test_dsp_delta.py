"""Deltas: slopes of straight lines, and librosa inside."""

import librosa
import numpy as np
import pytest
import torch

from asctool.dsp.delta import delta, delta_batch
from asctool.errors import UsageError


@pytest.mark.parametrize("width", [3, 5, 9, 21])
def test_interior_is_librosas(width: int) -> None:
    features = np.random.default_rng(0).standard_normal((2, 16, 60)).astype(np.float32)
    half = width // 2
    theirs = librosa.feature.delta(features, width=width, mode="nearest")
    assert np.abs(delta(features, width) - theirs)[..., half:-half].max() < 1e-6


def test_a_ramp_has_its_slope() -> None:
    ramp = 0.25 * np.arange(40) + np.array([[3.0], [-7.0]])
    slope = delta(ramp, 9)
    assert np.allclose(slope[:, 4:-4], 0.25)
    assert np.all(slope[:, 0] < 0.25)  # the first frame is repeated outside


@pytest.mark.parametrize("n_frames", [1, 3, 9, 50])
def test_torch_is_numpy(n_frames: int) -> None:
    features = np.random.default_rng(1).standard_normal((3, 2, 8, n_frames)).astype(np.float32)
    assert np.allclose(delta_batch(torch.tensor(features), 9).numpy(), delta(features, 9), atol=1e-6)


def test_one_frame_has_no_slope() -> None:
    assert np.array_equal(delta(np.ones((4, 1), np.float32)), np.zeros((4, 1), np.float32))


@pytest.mark.parametrize("width", [1, 2, 8, -9])
def test_a_width_without_a_middle_is_refused(width: int) -> None:
    with pytest.raises(UsageError, match=f"delta width {width} must be odd and at least 3"):
        delta(np.ones((2, 20)), width)
