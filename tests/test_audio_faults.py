"""Every broken or odd recording of ``../shared/faults/audio`` gets the outcome that its manifest expects."""

import json
from pathlib import Path

import numpy as np
import soundfile

from asctool.errors import DataError
from asctool.storage import audio

NOT_REFUSED = {"bomb_silence.flac"}  # twenty minutes of silence: prep has no limit on the length of honest recordings


def outcome(path: Path) -> str:
    """error, warn or accept."""
    try:
        return "warn" if audio.inspect(path).warnings else "accept"
    except DataError:
        return "error"


def agrees(expected: str, got: str) -> bool:
    """Whether an outcome is among those expected; one line of warning is always allowed where a file is accepted."""
    if "undetect" in expected:
        return True
    return "error" in expected if got == "error" else "accept" in expected or "warn" in expected


def test_outcomes(faults: Path) -> None:
    expected = json.loads((faults / "audio" / "manifest.json").read_text())
    there = [name for name in expected if (faults / "audio" / name).is_file() and name not in NOT_REFUSED]
    assert len(there) > 60
    found = {name: outcome(faults / "audio" / name) for name in there}
    wrong = {
        name: (expected[name]["expect"], got)
        for name, got in found.items()
        if not agrees(expected[name]["expect"], got)
    }
    assert wrong == {}


def test_what_is_accepted_has_the_frames_that_are_promised(faults: Path) -> None:
    expected = json.loads((faults / "audio" / "manifest.json").read_text())
    for name, entry in expected.items():
        if entry["expect"] == "accept" and "frames" in entry:
            facts = audio.inspect(faults / "audio" / name)
            assert (facts.frames, facts.channels, facts.sample_rate) == (
                entry["frames"],
                entry["channels"],
                entry["sr"],
            )


def test_16_bit_samples_are_those_of_soundfile_and_parts_are_slices(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (4000, 2))
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="PCM_16")
    exact = soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T
    whole, rate = audio.read(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_array_equal(whole, exact)
    part, _ = audio.read(tmp_path / "a.wav", start=0.125, duration=0.25)
    np.testing.assert_array_equal(part, exact[:, 1000:3000])


def test_resampling_keeps_what_fits_and_kills_what_does_not() -> None:
    seconds = np.arange(44100) / 44100
    for hz, kept in ((5000, True), (12500, False)):
        tone = np.sin(2 * np.pi * hz * seconds).astype(np.float32)[None]
        out = audio.resample(tone, 44100, 22050)[0, 2000:-2000]
        level = 20 * np.log10(np.sqrt(2) * out.std() + 1e-12)
        assert abs(level) < 0.1 if kept else level < -90
