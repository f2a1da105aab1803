"""The synthetic corpus: any size from a seed, scenes that only their mixture tells apart."""

import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from asctool.corpora import _folds, synthetic
from asctool.corpora._synthesis import EVENTS, TEXTURES, draw_recording, event, texture
from asctool.errors import UsageError
from asctool.storage.dataset import Clip

SMALL = synthetic.Config(n_clips_per_class=2, n_recordings_per_class=1, seconds=0.5, sample_rate=8000)


def contents(clips: "tuple[Clip, ...]") -> dict[str, bytes]:
    return {clip.clip_id: Path(clip.path).read_bytes() for clip in clips}


def test_every_component_sounds_in_three_scenes() -> None:
    textures, events = zip(*synthetic.SCENES.values())
    assert {frozenset(pair) for pair in textures} == {frozenset(pair) for pair in combinations(TEXTURES, 2)}
    assert {frozenset(pair) for pair in events} == {frozenset(pair) for pair in combinations(EVENTS, 2)}


@pytest.mark.parametrize(("seconds", "sample_rate"), [(0.3, 8000), (1.0, 22050), (0.7, 48000), (0.001, 8000)])
def test_size_length_and_rate(seconds: float, sample_rate: int, tmp_path: Path) -> None:
    corpus = synthetic.read(tmp_path / "new", synthetic.Config(3, 2, seconds, sample_rate))
    assert Counter(clip.labels[0] for clip in corpus.clips) == dict.fromkeys(corpus.classes, 3)
    assert len({clip.group for clip in corpus.clips}) == 12
    for clip in corpus.clips:
        samples, rate = soundfile.read(clip.path)
        assert (rate, len(samples)) == (sample_rate, round(seconds * sample_rate))
        assert clip.duration == len(samples) / rate
        assert np.isfinite(samples).all()


def test_the_same_from_the_same_seed(tmp_path: Path) -> None:
    first = contents(synthetic.read(tmp_path / "a", SMALL).clips)
    assert contents(synthetic.read(tmp_path / "b", SMALL).clips) == first
    more = contents(synthetic.read(tmp_path / "c", synthetic.Config(3, 1, 0.5, 8000)).clips)
    assert first.items() <= more.items()
    other = contents(synthetic.read(tmp_path / "d", synthetic.Config(2, 1, 0.5, 8000, seed=1)).clips)
    assert not {*first.values()} & {*other.values()}
    assert len({*first.values()}) == len(first)


def test_files_that_are_there_are_kept_and_broken_ones_mended(tmp_path: Path) -> None:
    kept, broken = (Path(clip.path) for clip in synthetic.read(tmp_path, SMALL).clips[:2])
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    os.utime(kept, (1, 1))
    synthetic.read(tmp_path, SMALL)
    assert kept.stat().st_mtime == 1
    assert broken.read_bytes() == whole


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_recordings_per_class": 20}, "from 1 to n_clips_per_class=10"),
        ({"n_recordings_per_class": 0}, "from 1 to"),
        ({"seconds": 0.0}, "seconds=0.0: above 0"),
        ({"sample_rate": 100}, "from 8000"),
    ],
)
def test_options_out_of_range(options: "dict[str, float]", match: str) -> None:
    with pytest.raises(UsageError, match=match):
        synthetic.Config(**options)  # type: ignore[arg-type]


def test_a_rise_and_a_fall_have_one_spectrum() -> None:
    """So that nothing that averages over time can tell them apart."""
    rise, fall = (np.abs(np.fft.rfft(event(name, 1000, 22050, np.random.default_rng(0)))) ** 2 for name in EVENTS[:2])
    assert np.abs(rise - fall).sum() < 0.05 * rise.sum()


@pytest.mark.parametrize(("name", "low", "high"), [("hiss", 2000, 12000), ("rumble", 0, 1000), ("gusts", 0, 4000)])
def test_textures_lie_in_their_bands(name: str, low: float, high: float) -> None:
    generator = np.random.default_rng(0)
    sound = texture(name, draw_recording(generator), 22050, 22050, generator)
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / 22050)
    assert power[(hz >= low) & (hz <= high)].sum() > 0.75 * power.sum()
    assert np.mean(sound**2) == pytest.approx(1)


def test_hum_is_a_harmonic_series() -> None:
    generator = np.random.default_rng(0)
    recording = draw_recording(generator)
    sound = texture("hum", recording, 44100, 22050, generator)
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / 22050)
    distance = np.abs(hz / recording.hum_hz - np.round(hz / recording.hum_hz)) * recording.hum_hz
    assert power[distance < 2].sum() > 0.999 * power.sum()


def test_the_mean_spectrum_tells_something_but_not_all(tmp_path: Path) -> None:
    """An SVM on mean and deviation of log-mel bands lies between chance (17 %) and what a network reaches (100 %)."""
    corpus = synthetic.read(tmp_path, synthetic.Config(20, 10, 2.0, 16000))
    mel = librosa.filters.mel(sr=16000, n_fft=512, n_mels=40)

    def statistics(path: str) -> np.ndarray:
        spectrum = np.abs(librosa.stft(soundfile.read(path)[0], n_fft=512)) ** 2
        bands = np.log(mel @ spectrum + 1e-10)
        return np.concatenate([bands.mean(1), bands.std(1)])

    found = {clip.clip_id: (statistics(clip.path), clip.labels[0]) for clip in corpus.clips}
    correct = 0
    folds = _folds.make_folds(corpus.clips, 5, 0)
    for fold in range(1, 6):
        train, test = (
            [found[row.clip_id] for row in folds if (row.fold, row.subset) == (fold, subset)]
            for subset in ("train", "test")
        )
        model = make_pipeline(StandardScaler(), SVC(C=5)).fit(*map(list, zip(*train)))
        correct += sum(model.predict([x for x, _ in test]) == [y for _, y in test])
    assert 0.4 < correct / len(found) < 0.9
