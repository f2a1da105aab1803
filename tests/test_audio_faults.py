"""Every broken or odd recording of ``../shared/faults/audio`` gets the outcome that its manifest expects."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asctool.cli import run
from asctool.errors import EnvironmentFailure
from asctool.stages.prep import Settings
from asctool.storage import audio, inspection
from asctool.storage.audio import AudioFacts


def outcomes(paths: list[Path], processes: int = 2) -> dict[str, AudioFacts | str]:
    """Facts or the reason of a refusal by name, as prep finds them."""
    found = inspection.inspect_all([str(path) for path in paths], Settings().max_seconds, processes)
    return {Path(path).name: outcome for path, outcome in found}


def agrees(expected: str, got: str) -> bool:
    """Whether an outcome is among those expected; one line of warning is always allowed where a file is accepted."""
    if "undetect" in expected:
        return True
    return "error" in expected if got == "error" else "accept" in expected or "warn" in expected


def test_outcomes(faults: Path) -> None:
    expected = json.loads((faults / "audio" / "manifest.json").read_text())
    there = [faults / "audio" / name for name in expected if (faults / "audio" / name).is_file()]
    assert len(there) == 74
    found = {
        name: "error" if isinstance(outcome, str) else "warn" if outcome.warnings else "accept"
        for name, outcome in outcomes(there).items()
    }
    assert sorted(found) == sorted(path.name for path in there)
    wrong = {
        name: (expected[name]["expect"], got)
        for name, got in found.items()
        if not agrees(expected[name]["expect"], got)
    }
    assert wrong == {}


def test_the_longest_recording_that_is_read_is_a_setting(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(601 * 8000, np.int16), 8000)
    (reason,) = outcomes([tmp_path / "long.flac"]).values()
    assert "its 601 s are more than max_seconds=600; cut it, or raise that" in str(reason)
    ((_, facts),) = inspection.inspect_all([str(tmp_path / "long.flac")], 601, 1)
    assert isinstance(facts, AudioFacts) and facts.duration == 601


HOSTILE_WORKER = """
import ctypes, os, sys, time
from asctool.storage import _inspection_worker, audio
honest = audio.inspect

def inspect(path, max_seconds):
    what = path.stem.split("-")[0]
    if what == "crash":
        ctypes.string_at(0)
    if what == "abort":
        os.abort()
    if what == "end":
        os._exit(7)
    while what == "loop":
        pass
    if what == "wait":
        time.sleep(60)
    if what == "memory":
        bytearray(3 << 30)
    if what == "once" and not os.path.exists(path.with_suffix(".seen")):
        path.with_suffix(".seen").touch()
        os.kill(os.getpid(), 9)
    return honest(path, max_seconds)

audio.inspect = inspect
_inspection_worker.serve(int(sys.argv[1]))
"""
REASONS = {
    "crash": "crash.wav: ends the process that decodes it (SIGSEGV), twice",
    "abort": "abort.wav: ends the process that decodes it (SIGABRT), twice",
    "end": "end.wav: ends the process that decodes it (exit 7), twice",
    "loop": "loop.wav: is not decoded after",
    "wait": "wait.wav: is not decoded after 3 s",
    "memory": "memory.wav: needs more than 1024 MiB to be decoded",
}


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of good files and of names that make the decoder do harm."""
    (tmp_path / "worker.py").write_text(HOSTILE_WORKER)
    monkeypatch.setattr(inspection, "COMMAND", (sys.executable, "-P", str(tmp_path / "worker.py")))
    monkeypatch.setattr(inspection, "CPU_SECONDS", 0.5)
    monkeypatch.setattr(inspection, "WAITING", 6.0)
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "mine" / label).mkdir(parents=True)
        for name in [f"{i}" for i in range(8)] + [*REASONS, "once"]:
            soundfile.write(tmp_path / "mine" / label / f"{name}.wav", rng.normal(size=800) / 9, 8000)
    return tmp_path


def test_a_decoder_that_crashes_hangs_or_swells_costs_its_file_alone(hostile: Path) -> None:
    began = time.monotonic()
    found = outcomes(sorted((hostile / "mine" / "a").glob("*.wav")))
    assert time.monotonic() - began < 20
    assert {name.removesuffix(".wav") for name, outcome in found.items() if isinstance(outcome, str)} == set(REASONS)
    for name, reason in REASONS.items():
        assert reason in str(found[f"{name}.wav"])
    assert found["once.wav"] == audio.inspect(hostile / "mine" / "a" / "once.wav")  # a worker lost by chance
    assert not _children()


def test_prep_goes_on_without_what_crashes_the_decoder(hostile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prep", "folder", str(hostile / "mine"), str(hostile / "data"), "--jobs", "2", "--set", "n_folds=2"]
    for path in (hostile / "mine").glob("*/[alew]*.wav"):  # the slow ones
        path.unlink()
    assert run(arguments) == 3
    told = capsys.readouterr().err
    assert "asctool prep: 4 files cannot be used" in told
    assert REASONS["crash"] in told and REASONS["memory"] in told
    assert not (hostile / "data").exists()
    assert run([*arguments, "--skip-bad"]) == 0
    assert "4 files of 22 are left out, and with them 4 clips of 22: see rejected.csv" in capsys.readouterr().err
    rejected = (hostile / "data" / "rejected.csv").read_text().splitlines()
    assert rejected[0] == "clip_id,path,reason" and len(rejected) == 5
    assert sum(REASONS["crash"] in line for line in rejected) == 2
    assert json.loads((hostile / "data" / "dataset.json").read_text())["rejected"] == 4


def test_workers_that_cannot_start_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "COMMAND", (sys.executable, "-c", "raise SystemExit('no libsndfile here')"))
    soundfile.write(tmp_path / "a.wav", np.ones(100) / 9, 8000)
    with pytest.raises(EnvironmentFailure, match=r"no process to decode audio in can be started: no libsndfile here"):
        outcomes([tmp_path / "a.wav"])
    assert not _children()


def test_names_of_files_reach_the_workers_whole(tmp_path: Path) -> None:
    """Spaces, quotes, newlines, what a shell would run, bytes that are no UTF-8."""
    names = ["a b.wav", "'\".wav", "$(touch x).wav", "two\nlines.wav", "ä.wav", os.fsdecode(b"\xff.wav"), "-rf.wav"]
    for name in names:
        soundfile.write(str(tmp_path / "plain.wav"), np.ones(100) / 9, 8000)
        (tmp_path / "plain.wav").rename(tmp_path / name)
    found = outcomes([tmp_path / name for name in names])
    assert sorted(found) == sorted(names)
    assert all(isinstance(outcome, AudioFacts) for outcome in found.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_nothing_of_the_current_directory_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.ones(100) / 9, 8000)
    (tmp_path / "numpy.py").write_text("open('was here', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", ".")])
    assert isinstance(outcomes([Path("a.wav")])["a.wav"], AudioFacts)
    assert not (tmp_path / "was here").exists()


def _children() -> list[str]:
    """Processes that this one has started and that still run."""
    tasks = Path("/proc/self/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split() if "_inspection" in _command(child)]


def _command(process: str) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except FileNotFoundError:
        return ""


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
