"""Time stretch, pitch shift and spectrogram masks: duration, pitch, level, bursts; reproducible draws."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asctool.errors import UsageError
from asctool.transforms import pitch_shift, spec_augment, time_stretch

RATE = 22050
SECONDS = 4
FACTORS = (0.8, 0.93, 1.0, 1.17, 1.3)
SEMITONES = (-3.5, -1.2, 0.0, 2.0, 3.5)


def tone(hz: float) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(SECONDS * RATE) / RATE)).astype(np.float32)


def noise() -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal(SECONDS * RATE).astype(np.float32)


def pitch(samples: np.ndarray) -> float:
    """Frequency of the strongest peak in the middle half, Hz, to 0.02 Hz."""
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    n_fft = 1 << 20
    return int(np.abs(np.fft.rfft(middle * np.hanning(len(middle)), n_fft)).argmax()) * RATE / n_fft


def cents(samples: np.ndarray, hz: float) -> float:
    return float(1200 * np.log2(pitch(samples) / hz))


def level_db(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=float))))


def stretched(samples: np.ndarray, factor: float, length: str = "free") -> np.ndarray:
    return time_stretch.apply(samples, RATE, time_stretch.Parameters(factor, length))


def shifted(samples: np.ndarray, semitones: float) -> np.ndarray:
    return pitch_shift.apply(samples, RATE, pitch_shift.Parameters(semitones))


@pytest.mark.parametrize("factor", [*FACTORS, 0.3, 2.5])
def test_stretching_changes_duration_alone(factor: float) -> None:
    for samples, hz in ((tone(100.0), 100.0), (tone(1000.0), 1000.0)):
        slow = stretched(samples, factor)
        assert abs(len(slow) / RATE - SECONDS / factor) < 0.06
        assert abs(cents(slow, hz)) < 10
        assert abs(level_db(slow) - level_db(samples)) < 3.5
    assert abs(level_db(stretched(noise(), factor)) - level_db(noise())) < 3.5


@pytest.mark.parametrize("semitones", [*SEMITONES, -12.0, 7.0])
def test_shifting_changes_pitch_alone(semitones: float) -> None:
    for hz in (60.0, 440.0, 3000.0):
        high = shifted(tone(hz), semitones)
        assert len(high) == SECONDS * RATE
        assert abs(cents(high, hz * 2 ** (semitones / 12))) < 10
        assert abs(level_db(high) - level_db(tone(hz))) < 3.5
    assert abs(level_db(shifted(noise(), semitones)) - level_db(noise())) < 3.5


def moved_clicks(samples: np.ndarray) -> tuple[float, float]:
    """Where the energy of a click lies, and the length of 90 % of it, seconds."""
    energy = np.cumsum(np.square(samples, dtype=float))
    first, middle, last = np.searchsorted(energy, energy[-1] * np.array([0.05, 0.5, 0.95]))
    return float(middle) / RATE, float(last - first) / RATE


@pytest.mark.parametrize("factor", FACTORS)
def test_a_burst_stays_a_burst_at_its_place(factor: float) -> None:
    samples = np.zeros(SECONDS * RATE, np.float32)
    samples[2 * RATE : 2 * RATE + 110] = 3 * noise()[:110]  # 5 ms
    place, length = moved_clicks(stretched(samples, factor))
    assert abs(place - 2 / factor) < 0.01
    assert length < 0.008
    place, length = moved_clicks(shifted(samples, 12 * np.log2(factor)))
    assert abs(place - 2) < 0.01
    assert length < 0.008


def test_length_policies() -> None:
    samples = noise()[:RATE]
    lengths = {
        (policy, factor): len(stretched(samples, factor, policy))
        for policy in time_stretch.LENGTHS
        for factor in (0.8, 1.3)
    }
    long, short = 27563, 16962
    assert lengths == {
        ("cut", 0.8): RATE, ("cut", 1.3): short, ("free", 0.8): long, ("free", 1.3): short,
        ("keep", 0.8): RATE, ("keep", 1.3): RATE, ("pad", 0.8): long, ("pad", 1.3): RATE,
    }  # fmt: skip
    assert np.all(stretched(samples, 1.3, "keep")[short:] == 0)


def test_channels_move_together() -> None:
    both = np.stack([noise(), 0.5 * noise()])
    for moved in (stretched(both, 0.9), shifted(both, 2.0)):
        assert moved.ndim == 2
        assert moved.dtype == np.float32
        assert np.allclose(moved[1], 0.5 * moved[0], atol=1e-5)


@pytest.mark.parametrize("n_samples", [0, 1, 100])
def test_short_clips_and_silence_pass(n_samples: int) -> None:
    short = noise()[:n_samples]
    assert np.isfinite(stretched(short, 0.8)).all()
    assert shifted(short, 3.5).shape == (n_samples,)
    assert np.all(stretched(np.zeros(5000, np.float32), 1.2) == 0)


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.8, 1.3])
def test_the_same_parameters_give_the_same_samples(factor: float) -> None:
    assert np.array_equal(stretched(noise(), factor), stretched(noise(), factor))
    assert np.array_equal(shifted(noise(), 12 * np.log2(factor)), shifted(noise(), 12 * np.log2(factor)))


def draw(module: Any, seed: int, clip: str, config: Any, *size: int) -> Any:
    """As a stage draws: from a generator of the seed and the clip's id alone."""
    return module.draw(np.random.default_rng([seed, *clip.encode()]), config, *size)


@pytest.mark.parametrize(
    ("module", "size"),
    [(time_stretch, ()), (pitch_shift, ()), (spec_augment, (64, 80))],
    ids=["stretch", "shift", "masks"],
)
def test_draws_depend_on_seed_and_clip_alone(module: Any, size: tuple[int, ...]) -> None:
    config = module.Config()
    assert draw(module, 1, "a", config, *size) == draw(module, 1, "a", config, *size)
    assert len({draw(module, seed, clip, config, *size) for seed in range(5) for clip in "abcd"}) == 20


def test_draws_are_uniform_between_the_limits() -> None:
    generator = np.random.default_rng(0)
    factors = np.array([time_stretch.draw(generator, time_stretch.Config()).factor for _ in range(2000)])
    semitones = np.array([pitch_shift.draw(generator, pitch_shift.Config()).semitones for _ in range(2000)])
    for values, low, high in ((factors, 0.8, 1.3), (semitones, -3.5, 3.5)):
        assert values.min() >= low
        assert values.max() <= high
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert np.abs(counts - 200).max() < 5 * np.sqrt(180)


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 90))
def test_masks_hold_the_mean_and_nothing_else_changes(seed: int, n_bands: int, n_frames: int) -> None:
    features = np.random.default_rng(seed).standard_normal((2, n_bands, n_frames)).astype(np.float32)
    config = spec_augment.Config()
    parameters = spec_augment.draw(np.random.default_rng(seed), config, n_bands, n_frames)
    masked = spec_augment.apply(features, parameters)
    inside = np.zeros((n_bands, n_frames), bool)
    for first, end in parameters.bands:
        assert 0 <= first <= end <= min(n_bands, first + config.widest_bands)
        inside[first:end] = True
    for first, end in parameters.frames:
        assert 0 <= first <= end <= min(n_frames, first + config.widest_frames)
        inside[:, first:end] = True
    assert np.array_equal(masked[:, ~inside], features[:, ~inside])
    for channel in range(2):
        assert np.allclose(masked[channel, inside], features[channel].mean(), atol=1e-6)


def test_masks_reach_every_width_and_place() -> None:
    generator = np.random.default_rng(0)
    spans = [s for _ in range(500) for s in spec_augment.draw(generator, spec_augment.Config(), 20, 20).bands]
    assert {end - first for first, end in spans} == set(range(13))
    assert {band for first, end in spans for band in range(first, end)} == set(range(20))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: time_stretch.Config(min_factor=0.0), "min_factor 0.0 must be above 0"),
        (lambda: time_stretch.Config(min_factor=1.4), "at most max_factor 1.3"),
        (lambda: time_stretch.Config(max_factor=float("nan")), "at most max_factor nan"),
        (lambda: time_stretch.Config(length="crop"), r"unknown length 'crop' \(known: cut, free, keep, pad\)"),
        (lambda: pitch_shift.Config(min_semitones=4.0), "min_semitones 4.0 must be at most max_semitones 3.5"),
        (lambda: pitch_shift.Config(max_semitones=float("inf")), "both within 60"),
        (lambda: spec_augment.Config(band_masks=-1), "band_masks -1 must be at least 0"),
    ],
)
def test_settings_without_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()
