"""Silent segments: which ones are left out, from clips as from streams."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import asctool

from asctool import registry
from asctool.dsp import segments
from asctool.errors import UsageError
from asctool.features import _plan, _stream
from asctool.stages import featurize
from asctool.storage.store import Store

RATE = 8000
SILENCE = {"type": "logmel", "sample_rate": RATE, "segment_frames": 40, "silence_db": -80.0}  # segments of 1 s


def tone(seconds: float, amplitude: float = 0.1) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * 1000 * np.arange(round(seconds * RATE)) / RATE)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE))


def streamed(samples: np.ndarray, n_pieces: int, **features: object) -> tuple[list[float], np.ndarray]:
    plan = _plan.plan_of({**SILENCE, **features}, None, (2 if features.get("delta") else 1, 64, 40))
    rows = _stream.Segments(plan)
    pieces = np.array_split(samples[None].astype(np.float32), n_pieces, axis=1)
    out = [rows.push(piece, i == len(pieces) - 1) for i, piece in enumerate(pieces)]
    return [float(start) for starts, _ in out for start in starts], np.concatenate([rows for _, rows in out])


@pytest.mark.parametrize("name", registry.names("features"))
def test_ten_times_the_amplitude_is_20_db(name: str) -> None:
    module = registry.load("features", name)
    quiet, loud = (
        module.peak_db(np.atleast_3d(module.extract(tone(1, amplitude), RATE, module.Config())))
        for amplitude in (0.01, 0.1)
    )
    assert loud - quiet == pytest.approx(20, abs=0.01)


def test_the_peak_of_a_waveform_is_that_of_its_largest_sample() -> None:
    module = registry.load("features", "waveform")
    assert module.peak_db(tone(1)[None]) == pytest.approx(-20, abs=0.1)
    assert module.peak_db(np.zeros((2, 5))) == -np.inf


def test_of_nothing_but_silence_the_loudest_stays() -> None:
    assert segments.audible(np.array([-90.0, -30, -85, -79]), -80).tolist() == [1, 3]
    assert segments.audible(np.array([-90.0, -85, -99]), -80).tolist() == [1]
    assert segments.audible(np.array([-np.inf, -np.inf]), -80).tolist() == [0]
    assert segments.audible(np.array([-90.0, -85, -99]), None).tolist() == [0, 1, 2]


def test_featurize_leaves_silent_segments_out(tmp_path: Path) -> None:
    """A tone from second 3 to 4 is in the segment that begins there, and in the first frame, of 50 ms, of the next."""
    clips = {
        "a/late.wav": np.concatenate([silence(3), tone(1), silence(2)]),
        "a/through.wav": tone(6),
        "b/faint.wav": np.concatenate([silence(2), tone(1, 3e-5), silence(3)]),
        "b/through.wav": tone(6),
    }
    for name, samples in clips.items():
        (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "audio" / name, samples, RATE, "FLOAT")
    asctool("prep", "folder", tmp_path / "audio", tmp_path / "data", "--set", "n_folds=2", "--quiet")
    given = [word for name, value in SILENCE.items() if name != "type" for word in ("--set", f"{name}={value}")]
    asctool("featurize", tmp_path / "data", tmp_path / "out", "--type", "logmel", "--delta", *given, "--quiet")
    columns = Store(tmp_path / "out").columns("clip_id", "start", "array")
    starts = {name: columns["start"][columns["clip_id"] == name.removesuffix(".wav")].tolist() for name in clips}
    assert starts == {
        "a/late.wav": [3, 4],
        "a/through.wav": [0, 1, 2, 3, 4, 5],
        "b/faint.wav": [2],
        "b/through.wav": [0, 1, 2, 3, 4, 5],
    }
    for name, samples in clips.items():  # predict hears the same rows
        own = columns["clip_id"] == name.removesuffix(".wav")
        heard, rows = streamed(samples, 1, delta=True)
        assert heard == starts[name]
        np.testing.assert_array_equal(rows, columns["array"][own])


@pytest.mark.parametrize("n_pieces", [2, 7, 40])
@pytest.mark.parametrize("loud", [0.1, 3e-5])
def test_a_stream_leaves_out_the_same(n_pieces: int, loud: float) -> None:
    samples = np.concatenate([silence(3), tone(1, loud), silence(3.3)])
    starts, rows = streamed(samples, 1)
    assert starts == ([3, 4] if loud == 0.1 else [3])
    own_starts, own_rows = streamed(samples, n_pieces)
    assert own_starts == starts
    np.testing.assert_allclose(own_rows, rows, atol=2e-4)


@pytest.mark.parametrize("value", [1.0, float("nan"), float("-inf")])
def test_a_level_that_makes_no_sense_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match="silence_db"):
        featurize.configure("logmel", {"sample_rate": RATE, "silence_db": value})
