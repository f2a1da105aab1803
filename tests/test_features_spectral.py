"""Log-mel and gammatone spectrograms: levels and places of known signals, librosa and the gammatone package."""

from typing import Any

import gammatone.gtgram
import librosa
import numpy as np
import pytest
import scipy.signal
import torch

from asctool import registry
from asctool.dsp import filterbanks, frames
from asctool.errors import UsageError
from asctool.features import gammatone as gammatone_feature
from asctool.features import logmel

RATE = 22050
FLOOR = np.log(1e-10)
ZHANG = {"n_bands": 128, "frame_samples": 1024, "hop_samples": 512, "window": "hamming"}


def noise(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate)).astype(np.float32)


def tone(hz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


@pytest.fixture(params=["logmel", "gammatone"])
def feature(request: pytest.FixtureRequest) -> Any:
    return registry.load("features", request.param)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("settings", [{}, {"frame_samples": 1024, "hop_samples": 512, "window": "hamming"}])
def test_logmel_is_librosas(scale: str, settings: dict[str, Any]) -> None:
    """Tolerance: both transform in float32, which is 1e-6 of a frame's power; the bands here lie far above that."""
    samples, config = noise(3), logmel.Config(mel_scale=scale, **settings)
    ours = logmel.extract(samples, RATE, config)
    frame, hop, fft = (1024, 512, 1024) if settings else (1102, 551, 1152)
    theirs = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=fft, win_length=frame, hop_length=hop, window=config.window, pad_mode="constant",
        fmin=50, n_mels=64, htk=scale == "htk", norm=None,
    )  # fmt: skip
    total = librosa.filters.get_window(config.window, frame).sum()
    assert np.abs(ours - np.log(theirs / total**2)[:, : ours.shape[1]]).max() < 1e-4


def test_phan_2019_has_80_frames_in_2_seconds(feature: Any) -> None:
    config = feature.Config()
    for seconds, n_frames in ((2, 80), (5, 200), (30, 1200)):
        values = feature.extract(np.zeros(seconds * RATE, np.float32), RATE, config)
        assert values.shape == (64, n_frames)
        assert feature.frame_count(seconds * RATE, RATE, config) == n_frames
    assert feature.hop_seconds(RATE, config) == 551 / 22050


@pytest.mark.parametrize("n_samples", [0, 1, 550, 551, 1102, 1653, 10007])
@pytest.mark.parametrize("method", ["weights", "filterbank"])
def test_frame_count_is_what_extract_makes(feature: Any, n_samples: int, method: str) -> None:
    config = feature.Config() if feature is logmel else feature.Config(method=method)
    values = feature.extract(noise(1)[:n_samples], RATE, config)
    assert values.shape == (64, feature.frame_count(n_samples, RATE, config))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


def test_a_tone_lands_in_its_band(feature: Any) -> None:
    centres = feature.band_frequencies(RATE, feature.Config())
    assert np.all(np.diff(centres) > 0)
    for hz in (440.0, 1000.0, 5000.0):
        band = feature.extract(tone(hz), RATE, feature.Config())[:, 20].argmax()
        assert band == np.abs(np.log(centres / hz)).argmin()


def test_a_full_scale_tone_has_its_power(feature: Any) -> None:
    """|STFT|^2 / (sum of the window)^2 of a sine peaks at 1/4; a band sums the peak's bins: 1/4 times 1.57 at 1152."""
    centre = feature.band_frequencies(RATE, feature.Config())[40]
    level = feature.extract(tone(centre), RATE, feature.Config())[40, 20]
    assert np.exp(level) == pytest.approx(0.25 * 1.5 * 1152 / 1102, rel=0.12)


def test_frame_t_is_centred_at_t_hops(feature: Any) -> None:
    """A click in the middle of frame 10 is heard as strongly by frames 9 and 11, at the window's edge: not at all."""
    samples = np.zeros(RATE, np.float32)
    samples[10 * 551] = 1
    level = feature.extract(samples, RATE, feature.Config())[50]
    assert level.argmax() == 10
    assert level[9] == pytest.approx(FLOOR)
    assert level[11] == pytest.approx(FLOOR)


def test_channels_are_separate(feature: Any) -> None:
    samples = np.stack([noise(1, seed=1), tone(300.0)])
    both = feature.extract(samples, RATE, feature.Config())
    assert both.shape == (2, 64, 40)
    assert np.array_equal(both[1], feature.extract(samples[1], RATE, feature.Config()))


def test_silence_is_the_floor(feature: Any) -> None:
    values = feature.extract(np.zeros(RATE, np.float32), RATE, feature.Config())
    assert np.all(values == np.float32(FLOOR))


def long_term_db(values: np.ndarray) -> np.ndarray:
    return 10 * np.log10(np.exp(values.astype(float)).mean(axis=1))


@pytest.mark.parametrize("color", ["white", "pink", "clicks"])
def test_gammatone_methods_agree_within_1_db(color: str) -> None:
    """Long-term band levels at 64 bands and 22.05 kHz.

    Not so beside a pure tone below 300 Hz: a window of 50 ms spreads it over bands that are 30 Hz wide.
    """
    samples = noise(8).astype(float)
    if color == "pink":
        spectrum = np.fft.rfft(samples)
        samples = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), len(samples))
        samples *= 0.1 / samples.std()
    if color == "clicks":
        samples *= 0.01
        samples[:: RATE // 3] += 0.5
    heard = samples.astype(np.float32)
    weights = gammatone_feature.extract(heard, RATE, gammatone_feature.Config())
    filters = gammatone_feature.extract(heard, RATE, gammatone_feature.Config(method="filterbank"))
    assert np.abs(long_term_db(weights) - long_term_db(filters)).max() < 1


def test_filterbank_is_the_packages() -> None:
    """gtgram gives root mean squares; ours carry the factor of the FFT's frames, N sum(w^2) / (2 (sum w)^2)."""
    samples = noise(4)
    theirs = gammatone.gtgram.gtgram(samples, RATE, 0.05, 0.025, 64, 50) ** 2
    window = np.hanning(1103)[:-1]
    factor = 1152 * np.sum(window**2) / (2 * window.sum() ** 2)
    ours = gammatone_feature.extract(samples, RATE, gammatone_feature.Config(method="filterbank"))
    difference = long_term_db(ours) - 10 * np.log10(theirs.mean(axis=1) * factor)
    assert np.abs(difference).max() < 0.3  # of two estimates of noise in low bands, windowed differently


@pytest.mark.parametrize(
    ("frame", "hop", "n_samples"), [(1102, 551, 9000), (1001, 200, 3000), (512, 512, 1500), (400, 300, 50)]
)
def test_filterbank_is_scipys_filters_frame_by_frame(frame: int, hop: int, n_samples: int) -> None:
    """Tolerance: coefficients in float32 move the lowest filters by 1 % in power at most."""
    samples = 3 * noise(1)[:n_samples]
    config = gammatone_feature.Config(
        method="filterbank", n_bands=6, frame_samples=frame, hop_samples=hop, floor_power=1e-30
    )
    ours = np.exp(gammatone_feature.extract(samples, RATE, config))
    zeros, poles, gain = filterbanks.gammatone_sections(RATE, 6, 50.0, RATE / 2)
    window = scipy.signal.get_window("hann", frame)
    scale = frames.fast_length(frame) / (2 * window.sum() ** 2)
    padded = np.concatenate([np.zeros((frame + 1) // 2), samples, np.zeros(frame + hop)])
    for band in range(6):
        sections = np.array([[1, zero, 0, 1, *poles[:, band]] for zero in zeros[:, band]])
        squares = (gain[band] * scipy.signal.sosfilt(sections, padded)) ** 2
        cut = np.lib.stride_tricks.sliding_window_view(squares, frame)[::hop][: ours.shape[1]]
        assert np.allclose(ours[band], scale * (cut * window**2).sum(axis=1), rtol=0.01)


def test_filterbank_takes_any_count_of_bands() -> None:
    many = gammatone_feature.Config(method="filterbank", n_bands=100, frame_samples=900, hop_samples=200)
    values = gammatone_feature.extract(noise(2), RATE, many)
    weights = gammatone_feature.extract(
        noise(2), RATE, gammatone_feature.Config(n_bands=100, frame_samples=900, hop_samples=200)
    )
    assert values.shape == weights.shape == (100, 220)
    assert np.abs(long_term_db(values) - long_term_db(weights)).max() < 1


@pytest.mark.parametrize("settings", [{}, ZHANG, {"frame_samples": 1023, "hop_samples": 300}])
def test_torch_is_the_cpu(feature: Any, settings: dict[str, Any]) -> None:
    samples = np.stack([noise(1.5), 0.9 * tone(1000.0, 1.5), np.zeros(33075, np.float32)])
    config = feature.Config(**settings)
    batch = feature.extract_batch(torch.tensor(samples), RATE, config).numpy()
    expected = feature.extract(samples, RATE, config)
    assert batch.shape == expected.shape
    above = expected > FLOOR + 0.1
    assert np.abs(batch - expected)[above].max() < 1e-3
    assert np.abs(batch - expected).max() < 0.2


def test_torch_takes_short_clips(feature: Any) -> None:
    short = feature.extract_batch(torch.tensor(noise(1)[None, :100]), RATE, feature.Config())
    assert np.allclose(short[0], feature.extract(noise(1)[:100], RATE, feature.Config()), atol=1e-3)


def test_the_filterbank_has_no_batched_form() -> None:
    with pytest.raises(UsageError, match="runs on the CPU only"):
        gammatone_feature.extract_batch(torch.zeros(1, 100), RATE, gammatone_feature.Config(method="filterbank"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop_seconds": 0.06}, "hop of 1323 samples is above the frame of 1102"),
        ({"hop_samples": 0}, "hop of 0 samples is too short"),
        ({"frame_samples": 1}, "frame of 1 samples is too short"),
        ({"f_max_hz": 12000.0}, "f_max_hz 12000 is above half the sample rate, 11025 Hz"),
        ({"f_min_hz": 11025.0}, "f_min_hz 11025 must lie from 0 to below f_max_hz"),
        ({"f_min_hz": -1.0}, "f_min_hz -1 must lie from 0"),
        ({"frame_seconds": float("nan")}, "frame_seconds is nan"),
        ({"floor_power": float("inf")}, "floor_power is inf"),
        ({"floor_power": 0.0}, "floor_power 0.0 must be above 0"),
        ({"n_bands": 0}, "n_bands 0 must be at least 1"),
        ({"window": "hanning"}, "unknown window 'hanning'; did you mean 'hann'"),
    ],
)
def test_settings_without_sense_are_refused(feature: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        feature.extract(noise(1), RATE, feature.Config(**settings))
    assert "\n" not in str(caught.value)


def test_unknown_choices_list_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown mel_scale 'bark' \(known: htk, slaney\)"):
        logmel.Config(mel_scale="bark").validate(RATE)
    with pytest.raises(UsageError, match=r"unknown gammatone method 'fft' \(known: filterbank, weights\)"):
        gammatone_feature.Config(method="fft").validate(RATE)


def test_a_mel_band_without_a_bin_is_refused() -> None:
    with pytest.raises(UsageError, match="narrower than an FFT bin"):
        logmel.Config(n_bands=400).validate(RATE)


def test_a_rate_of_nothing_is_refused(feature: Any) -> None:
    with pytest.raises(UsageError, match="sample rate 0 Hz must be above 0"):
        feature.Config().validate(0)
