"""Minimum statistics and spectral subtraction: signals of known noise power; figures are VOICEBOX's or better."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from asctool.dsp import frames, noise
from asctool.errors import UsageError

RATE = 16000
HOP = 256  # 16 ms, half of a frame


def spectra(samples: np.ndarray) -> np.ndarray:
    """Periodograms (frame, bin) whose expectation is the variance of white noise."""
    window = frames.window("hann", 2 * HOP)
    cut = np.lib.stride_tricks.sliding_window_view(samples, 2 * HOP)[::HOP]
    return np.abs(np.fft.rfft(cut * window)) ** 2 / np.sum(window**2)


def white(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def estimate_db(samples: np.ndarray) -> np.ndarray:
    """Estimated noise power in dB, (frame, bin); the bins at 0 Hz and half the rate have other statistics."""
    estimate = noise.minimum_statistics(spectra(samples), HOP / RATE)
    assert np.isfinite(estimate).all()
    with np.errstate(divide="ignore"):
        return 10 * np.log10(estimate[:, 1:-1])


def at(level_db: np.ndarray, seconds: float) -> float:
    """Mean over the bins and 0.2 s."""
    first = round(seconds * RATE / HOP)
    return float(level_db[first : first + 12].mean())


def bursts(n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """A 1 kHz tone, 0.6 s on and 0.6 s off, 11 dB over white noise of unit power; and where it is on."""
    time = np.arange(n_samples) / RATE
    on = time % 1.2 < 0.6
    return np.sqrt(2 * 10**1.1) * np.sin(2 * np.pi * 1000 * time) * on, on


@pytest.fixture(scope="module")
def stationary() -> np.ndarray:
    return np.concatenate([estimate_db(white(seed, 20))[200:] for seed in range(4)])


@pytest.fixture(scope="module")
def tonal() -> np.ndarray:
    return np.concatenate([estimate_db(white(seed, 20) + bursts(20 * RATE)[0])[200:] for seed in range(4)])


def test_stationary_noise_is_estimated_as_well_as_by_voicebox(stationary: np.ndarray) -> None:
    assert abs(stationary.mean()) <= 0.25
    assert np.sqrt((stationary**2).mean()) <= 0.75


def test_tone_bursts_hardly_lift_the_estimate(tonal: np.ndarray) -> None:
    assert abs(tonal.mean()) <= 0.17
    assert np.sqrt((tonal**2).mean()) <= 0.95


@pytest.mark.parametrize(("step_db", "limit_seconds"), [(10, 1.6), (-10, 0.12)])
def test_a_step_is_followed_as_fast_as_by_voicebox(step_db: float, limit_seconds: float) -> None:
    """Lag until the mean power lies within 3 dB of the new one; the mean of steps at eight places of a sub-window."""
    lags = []
    for place in range(8):
        step = 500 + place  # the frame of the step, 8 s in
        samples = white(place, 12)
        samples[step * HOP :] *= 10 ** (step_db / 20)
        estimate = noise.minimum_statistics(spectra(samples), HOP / RATE)[step:, 1:-1].mean(axis=1)
        lags.append(np.argmax(np.abs(10 * np.log10(estimate) - step_db) < 3) * HOP / RATE)
    assert np.mean(lags) <= limit_seconds


def test_any_hop_and_level_gives_the_same_bias() -> None:
    periodograms = np.random.default_rng(0).exponential(size=(1500, 129))
    for hop_seconds in (0.008, 0.016, 0.025):
        for power in (1e-12, 1.0, 1e12):
            estimate = noise.minimum_statistics(power * periodograms, hop_seconds)[500:]
            assert abs(10 * np.log10(estimate / power).mean()) < 0.5


def test_after_leading_zeros_the_estimate_is_right_within_five_seconds() -> None:
    samples = white(0, 15)
    samples[: 8 * RATE] = 0
    level = estimate_db(samples)
    assert np.all(np.isneginf(level[: 8 * RATE // HOP - 2]))
    assert abs(at(level, 13)) < 1.5


@pytest.mark.parametrize("gap_seconds", [0.05, 1.0, 4.0])
def test_after_a_gap_of_zeros_the_estimate_is_right_within_three_seconds(gap_seconds: float) -> None:
    samples = white(1, 14)
    samples[5 * RATE : round((5 + gap_seconds) * RATE)] = 0
    level = estimate_db(samples)
    assert abs(at(level, 5 + gap_seconds + 3)) < 1.5
    assert level[320:].min() > -10  # and it never drops in between


def test_after_near_silence_the_estimate_recovers() -> None:
    samples = white(2, 12)
    samples[4 * RATE : 7 * RATE] *= 1e-6
    assert abs(at(estimate_db(samples), 10)) < 1.5


def test_nothing_but_zeros_is_no_noise() -> None:
    assert np.array_equal(noise.minimum_statistics(np.zeros((50, 9)), 0.016), np.zeros((50, 9), np.float32))
    assert noise.minimum_statistics(np.zeros((0, 9)), 0.016).shape == (0, 9)


def test_a_bin_of_zeros_leaves_the_others_alone() -> None:
    power = np.random.default_rng(0).exponential(size=(600, 40))
    power[:, 0] = 0
    estimate = noise.minimum_statistics(power, 0.016)
    assert np.isfinite(estimate).all()
    assert estimate[-1, 0] < 1e-20
    assert abs(10 * np.log10(estimate[300:, 1:]).mean()) < 0.5


def test_the_compiled_loop_equals_one_in_numpy() -> None:
    """Independent of float32: rounding changes a decision of the local-minimum rule now and then, hence the median."""
    path = Path(__file__).parents[1] / "benchmarks" / "minimum_statistics_loop.py"
    spec = importlib.util.spec_from_file_location("minimum_statistics_loop", path)
    assert spec is not None and spec.loader is not None
    loop = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loop)
    swell = 10 ** np.sin(np.arange(800) / 100)[:, None]
    power = np.random.default_rng(0).exponential(size=(800, 129)) * swell
    for hop_seconds in (0.010, 0.016, 0.025):
        error = 10 * np.log10(
            noise.minimum_statistics(power, hop_seconds) / loop.minimum_statistics(power, hop_seconds)
        )
        assert np.median(np.abs(error)) < 1e-4
        assert (np.abs(error) > 0.01).mean() < 0.01


def test_a_hop_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="hop_seconds 0 must be above 0"):
        noise.minimum_statistics(np.ones((3, 3)), 0)


def power_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=float))))


def tone_db(samples: np.ndarray, where: np.ndarray) -> float:
    """Level of the 1 kHz tone alone, by its projection."""
    time = np.arange(len(samples)) / RATE
    return float(20 * np.log10(np.abs((samples * np.exp(-2j * np.pi * 1000 * time))[where].mean())))


def test_subtraction_takes_11_db_of_noise_and_leaves_the_bursts() -> None:
    background = 0.05 * white(3, 12)
    tone, on = bursts(len(background))
    mixed = (background + 0.05 * tone).astype(np.float32)
    cleaned = noise.subtract(mixed, RATE, noise.Config())
    settled = np.arange(len(mixed)) > 3 * RATE
    assert tone_db(cleaned, on & settled) > tone_db(mixed, on & settled) - 1
    time = np.arange(len(mixed)) / RATE % 1.2
    between = (time > 0.65) & (time < 1.15) & settled
    assert power_db(cleaned[between]) < power_db(mixed[between]) - 11
    alone = background.astype(np.float32)
    assert power_db(noise.subtract(alone, RATE, noise.Config())[settled]) < power_db(alone[settled]) - 11


def test_what_remains_of_noise_is_noise() -> None:
    """Musical noise is single peaks: they raise the kurtosis of the spectrum's power, E[p^2] / E[p]^2, above noise's 2.

    Without averaging of the gains it would be 5.6.
    """
    remains = noise.subtract(white(4, 12).astype(np.float32), RATE, noise.Config())
    power = spectra(remains)[200:, 2:-2]
    power /= power.mean(axis=0)
    assert np.mean(power**2) < 2.5
    rough = noise.Config(average_frames=1, average_bins=1, floor_gain=0.1)
    power = spectra(noise.subtract(white(4, 12).astype(np.float32), RATE, rough))[200:, 2:-2]
    power /= power.mean(axis=0)
    assert np.mean(power**2) > 4


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("n_samples", [0, 1, 300, 22051])
def test_without_subtraction_the_samples_come_back(rate: int, n_samples: int) -> None:
    samples = white(5, 2)[:n_samples].astype(np.float32)
    config = noise.Config(over_subtraction=1e-12)
    assert np.allclose(noise.subtract(samples, rate, config), samples, atol=1e-5)
    stretched = noise.Config(over_subtraction=1e-12, frame_seconds=0.064)
    assert np.allclose(noise.subtract(samples, rate, stretched), samples, atol=1e-5)


def test_channels_are_cleaned_apart_and_silence_stays() -> None:
    samples = np.stack([0.1 * white(6, 3), np.zeros(3 * RATE)]).astype(np.float32)
    cleaned = noise.subtract(samples, RATE, noise.Config())
    assert cleaned.dtype == np.float32
    assert np.array_equal(cleaned[0], noise.subtract(samples[0], RATE, noise.Config()))
    assert np.array_equal(cleaned[1], samples[1])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (noise.Config(frame_seconds=float("nan")), "frame_seconds nan must be above 0 and finite"),
        (noise.Config(hop_seconds=0.02), "hop_seconds 0.02 must be at most half of frame_seconds"),
        (noise.Config(hop_seconds=1e-6), "below one sample"),
        (noise.Config(floor_gain=2.0), "floor_gain 2 must be at most 1"),
    ],
)
def test_settings_without_sense_are_refused(config: noise.Config, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        noise.subtract(np.zeros(10, np.float32), RATE, config)
