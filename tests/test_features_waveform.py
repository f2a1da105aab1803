"""The waveform as a feature."""

import numpy as np
import pytest

from asctool.errors import UsageError
from asctool.features import waveform


def test_pre_emphasis_kills_constants_and_keeps_the_first_sample() -> None:
    samples = np.ones(100, np.float32)
    out = waveform.extract(samples, 8000, waveform.Config(pre_emphasis=1.0))
    assert out.shape == (1, 100)
    assert out[0, 0] == 1
    assert np.all(out[0, 1:] == 0)
    assert np.all(samples == 1)


def test_without_pre_emphasis_it_is_a_copy() -> None:
    samples = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    out = waveform.extract(samples, 8000, waveform.Config())
    assert np.array_equal(out, samples)
    assert not np.shares_memory(out, samples)
    assert waveform.frame_count(50, 8000, waveform.Config()) == 50
    assert waveform.hop_seconds(8000, waveform.Config()) == 1 / 8000


@pytest.mark.parametrize("factor", [-0.1, 1.5, float("nan")])
def test_a_factor_outside_0_to_1_is_refused(factor: float) -> None:
    with pytest.raises(UsageError, match="pre_emphasis"):
        waveform.extract(np.zeros(5, np.float32), 8000, waveform.Config(factor))
