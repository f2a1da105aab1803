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
from asctool.storage._frames import mp3_frame_bytes
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


def bursts(rate: int, channels: int, seconds: int = 6) -> np.ndarray:
    """Noise of a new level each tenth of a second: an mp3 encoder keeps bits of quiet frames for loud ones."""
    rng = np.random.default_rng(0)
    levels = np.repeat(rng.choice([0.001, 0.01, 0.1], size=10 * seconds), rate // 10)
    return (levels[:, None] * rng.normal(size=(len(levels), channels))).clip(-0.5, 0.5)


CODINGS = {
    "wav": ("WAV", "PCM_24", 44100, {}),
    "flac": ("FLAC", "PCM_16", 44100, {}),
    "vorbis": ("OGG", "VORBIS", 44100, {}),
    "opus": ("OGG", "OPUS", 48000, {}),
    "mp3-48": ("MP3", "MPEG_LAYER_III", 48000, {"bitrate_mode": "CONSTANT", "compression_level": 0.95}),
    "mp3-56": ("MP3", "MPEG_LAYER_III", 48000, {"bitrate_mode": "CONSTANT", "compression_level": 0.9}),
    "mp3-160": ("MP3", "MPEG_LAYER_III", 44100, {"bitrate_mode": "CONSTANT", "compression_level": 0.5}),
    "mp3-vbr": ("MP3", "MPEG_LAYER_III", 24000, {"bitrate_mode": "VARIABLE", "compression_level": 0.95}),
}


@pytest.mark.parametrize("name", CODINGS)
def test_blocks_pieces_and_parts_are_those_of_one_whole_read(name: str, tmp_path: Path) -> None:
    """soundfile seeks after each read, and an mp3 decoder then lacks the bits that frames have in earlier ones."""
    form, subtype, rate, settings = CODINGS[name]
    path = tmp_path / f"{name}.{form.lower()}"
    soundfile.write(path, bursts(rate, 2), rate, subtype, format=form, **settings)
    whole = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    assert whole.shape[1] > 3 * audio.BLOCK_SAMPLES // 2
    exact = 6e-8  # float32 at half of full scale, rounded in another order
    np.testing.assert_allclose(audio.read(path)[0], whole, rtol=0, atol=exact)
    pieces = np.concatenate([piece for piece, _, _ in audio.pieces(path, 0.7)], axis=1)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=exact)
    for start in (0.1, 1.7, 4.3):
        part, _ = audio.read(path, start=start, duration=1.5)
        first = round(start * rate)
        np.testing.assert_allclose(part, whole[:, first : first + part.shape[1]], rtol=0, atol=exact)


def mp3_frames(data: bytes) -> list[bytes]:
    """The frames that a file is made of."""
    frames = []
    while length := mp3_frame_bytes(data[:4]):
        frames.append(data[:length])
        data = data[length:]
    assert not data
    return frames


ENCODER_AND_DECODER_DELAY = 576 + 529  # samples, which the decoder leaves out where LAME's tag tells of them
TAGS = {
    "none": lambda tag, count: b"",
    "Xing without a count": lambda tag, count: tag[:36] + b"Xing" + bytes(len(tag) - 40),
    "VBRI": lambda tag, count: (tag[:4] + bytes(32) + b"VBRI" + bytes(10) + count.to_bytes(4, "big")).ljust(len(tag)),
}


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("mode", ("VARIABLE", "CONSTANT"))
def test_an_mp3_without_its_tag_is_read_whole(mode: str, tag: str, tmp_path: Path) -> None:
    """libsndfile reads as many frames of it as the first ones' size lets it expect."""
    soundfile.write(tmp_path / "a.mp3", bursts(44100, 2), 44100, format="MP3", bitrate_mode=mode, compression_level=0.5)
    with_tag = soundfile.read(tmp_path / "a.mp3", dtype="float32")[0].T
    first, *others = mp3_frames((tmp_path / "a.mp3").read_bytes())
    assert first[36:40] in (b"Xing", b"Info")
    id3v2, id3v1 = b"ID3\3\0\0\0\0\1\0" + bytes(128), b"TAG" + bytes(125)
    (tmp_path / "b.mp3").write_bytes(id3v2 + TAGS[tag](first, len(others)) + b"".join(others) + id3v1)
    expected = 1152 * (len(others) + (tag == "VBRI"))  # its frame is decoded too, as silence
    facts = audio.inspect(tmp_path / "b.mp3")
    assert facts.frames == expected
    assert facts.warnings == ()
    samples, _ = audio.read(tmp_path / "b.mp3")
    assert samples.shape == (2, expected)
    sound = samples[:, ENCODER_AND_DECODER_DELAY + 1152 * (tag == "VBRI") :][:, : with_tag.shape[1]]
    np.testing.assert_allclose(sound, with_tag, rtol=0, atol=6e-8)
    assert sum(piece.shape[1] for piece, _, _ in audio.pieces(tmp_path / "b.mp3", 1.0)) == expected
    part, _ = audio.read(tmp_path / "b.mp3", start=4.5, duration=1.0)
    np.testing.assert_allclose(part, samples[:, 198450 : 198450 + 44100], rtol=0, atol=6e-8)


def test_an_mp3_that_gets_no_tag_is_read_whole(tmp_path: Path) -> None:
    """LAME leaves the tag out where a frame has no room for it."""
    constant = {"bitrate_mode": "CONSTANT", "compression_level": 0.95}
    soundfile.write(tmp_path / "a.mp3", bursts(44100, 1), 44100, format="MP3", **constant)
    frames = mp3_frames((tmp_path / "a.mp3").read_bytes())
    assert b"Xing" not in frames[0] and b"Info" not in frames[0]
    assert audio.inspect(tmp_path / "a.mp3").frames == 1152 * len(frames)


def test_frames_of_layer_2_are_counted(tmp_path: Path) -> None:
    """Three frames of 384 kbit/s, then 300 of 80 kbit/s, all silent: 60 252 samples by the first ones' size."""
    sizes = [bytes([0xFF, 0xFD, bitrate << 4, 0]) for bitrate in [14] * 3 + [5] * 300]
    data = b"".join(header.ljust(mp3_frame_bytes(header), b"\0") for header in sizes)
    (tmp_path / "a.mp3").write_bytes(data)
    assert audio.inspect(tmp_path / "a.mp3").frames == 303 * 1152
    assert audio.read(tmp_path / "a.mp3")[0].shape == (2, 303 * 1152)


def test_resampling_keeps_what_fits_and_kills_what_does_not() -> None:
    seconds = np.arange(44100) / 44100
    for hz, kept in ((5000, True), (12500, False)):
        tone = np.sin(2 * np.pi * hz * seconds).astype(np.float32)[None]
        out = audio.resample(tone, 44100, 22050)[0, 2000:-2000]
        level = 20 * np.log10(np.sqrt(2) * out.std() + 1e-12)
        assert abs(level) < 0.1 if kept else level < -90
