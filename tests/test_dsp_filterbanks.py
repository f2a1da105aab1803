"""Filter banks against librosa, the gammatone package, scipy and closed forms."""

import gammatone.fftweight
import gammatone.filters
import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from asctool.dsp import filterbanks, frames


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize(
    ("rate", "fft", "n_bands", "f_min", "f_max"), [(22050, 1152, 64, 50.0, 11025.0), (44100, 2560, 128, 20.0, 16000.0)]
)
def test_mel_weights_are_librosas(scale: str, rate: int, fft: int, n_bands: int, f_min: float, f_max: float) -> None:
    ours = filterbanks.mel_weights(rate, fft, n_bands, f_min, f_max, scale)
    theirs = librosa.filters.mel(
        sr=rate, n_fft=fft, n_mels=n_bands, fmin=f_min, fmax=f_max, htk=scale == "htk", norm=None
    )
    assert np.abs(ours - theirs.T).max() < 1e-5


@given(st.floats(0, 96000))
def test_mel_and_back_is_the_same_frequency(hz: float) -> None:
    for scale in ("htk", "slaney"):
        assert filterbanks.mel_to_hz(filterbanks.hz_to_mel(np.array(hz), scale), scale) == pytest.approx(hz, abs=1e-6)


def test_1000_hz_is_1000_mel_htk_and_15_mel_slaney() -> None:
    assert filterbanks.hz_to_mel(np.array(1000.0), "htk") == pytest.approx(1000, abs=0.02)
    assert filterbanks.hz_to_mel(np.array(1000.0), "slaney") == pytest.approx(15)


@pytest.mark.parametrize(
    ("n_bands", "f_min", "f_max"), [(64, 50.0, 11025.0), (128, 50.0, 22050.0), (20, 100.0, 8000.0)]
)
def test_gammatone_centres_are_slaneys(n_bands: int, f_min: float, f_max: float) -> None:
    ours = filterbanks.erb_frequencies(n_bands, f_min, f_max)
    theirs = gammatone.filters.erb_space(f_min, f_max, n_bands)[::-1]
    assert np.abs(ours / theirs - 1).max() < 1e-3
    steps = np.diff(np.log(ours + filterbanks.EAR_Q * filterbanks.MIN_BANDWIDTH_HZ))
    assert np.allclose(steps, steps[0])


def test_gammatone_weights_are_the_squares_of_the_packages() -> None:
    """Dan Ellis' weights are amplitudes; powers above -110 dB, since ours end at -120 dB."""
    ours = filterbanks.gammatone_weights(22050, 1152, 64, 50.0, 11025.0, 1e-12)
    theirs = gammatone.fftweight.fft_weights(1152, 22050, 64, 1, 50, 11025, 577)[0] ** 2
    strong = theirs.T > 1e-11
    assert np.abs(ours[strong] / theirs.T[strong] - 1).max() < 1e-3
    assert ours[theirs.T < 0.9e-12].max() == 0


def test_gammatone_sections_ring_as_scipys_gammatone() -> None:
    """scipy's fourth-order IIR gammatone is Slaney's too; gain one at the centre."""
    zeros, poles, gain = filterbanks.gammatone_sections(22050, 16, 200.0, 8000.0)
    for band, centre in enumerate(filterbanks.erb_frequencies(16, 200.0, 8000.0)):
        numerator, denominator = scipy.signal.gammatone(centre, "iir", fs=22050)
        grid = np.array([0.8, 0.95, 1.0, 1.05, 1.2]) * centre
        _, expected = scipy.signal.freqz(numerator, denominator, grid, fs=22050)
        sections = np.array([[1, zero, 0, 1, *poles[:, band]] for zero in zeros[:, band]])
        _, response = scipy.signal.freqz_sos(sections, grid, fs=22050)
        assert np.allclose(np.abs(response) * gain[band], np.abs(expected), rtol=0.01)
        assert np.abs(response[2]) * gain[band] == pytest.approx(1)


def test_gammatone_bandwidth_is_one_erb() -> None:
    """The equivalent rectangular bandwidth of a band is what Glasberg and Moore measured: 132.6 Hz at 1 kHz."""
    centres = filterbanks.erb_frequencies(64, 50.0, 11025.0)
    weights = filterbanks.gammatone_weights(22050, 16384, 64, 50.0, 11025.0, 0.0)
    inner = (centres > 200) & (centres < 6000)
    bandwidth = weights.sum(axis=0) * 22050 / 16384
    assert np.abs(bandwidth / filterbanks.erb_hz(centres) - 1)[inner].max() < 0.02
    assert filterbanks.erb_hz(np.array(1000.0)) == pytest.approx(132.6, abs=0.1)


@pytest.mark.parametrize("n_bands", [1, 15, 16, 40, 100])
def test_parts_multiply_as_the_whole(n_bands: int) -> None:
    power = np.random.default_rng(0).random((5, 577)).astype(np.float32)
    for weights in (
        filterbanks.mel_weights(22050, 1152, n_bands, 500.0, 11025.0, "htk"),
        filterbanks.gammatone_weights(22050, 1152, n_bands, 50.0, 11025.0, 1e-12),
    ):
        bands = np.zeros((5, n_bands))
        for part in filterbanks.parts(weights):
            bands[:, part.bands] = power[:, part.bins] @ part.weights
        assert np.allclose(bands, power @ weights, rtol=1e-5)


def test_fft_lengths_are_fast_and_near() -> None:
    assert [frames.fast_length(n) for n in (1102, 1024, 2560, 2205, 1)] == [1152, 1024, 2560, 2304, 16]
    for n in range(1, 5000, 7):
        length = frames.fast_length(n)
        assert n <= length < 1.3 * n + 16
        for factor in (2, 3, 5):
            while length % factor == 0:
                length //= factor
        assert length == 1


@pytest.mark.parametrize("name", ["hann", "hamming"])
@pytest.mark.parametrize("length", [7, 1024, 1102])
def test_windows_are_scipys(name: str, length: int) -> None:
    assert np.allclose(frames.window(name, length), scipy.signal.get_window(name, length))
