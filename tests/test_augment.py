"""Varied copies of clips, and masked rows: where they train, what they hold, how they are made again."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SMALL, asctool

from asctool import registry
from asctool.cli import run
from asctool.stages import augment as stage
from asctool.stages.augment import copies
from asctool.storage.data_directory import DataDirectory
from asctool.storage.store import Store

BOTH = ("--method", "time_stretch,pitch_shift", "--copies", 2, "--seed", 7, "--quiet")
RATE = 16000


@pytest.fixture(scope="module")
def varied(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("varied") / "varied"
    asctool("augment", corpus / "data", out, *BOTH, "--jobs", 1)
    return out


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def wavs(data: Path) -> dict[str, bytes]:
    """Copy id to the bytes of its file, found through the tables alone."""
    return {row["clip_id"]: (data / row["path"]).read_bytes() for row in table(data / "clips.csv") if row["method"]}


def prepare(tmp_path: Path, samples: np.ndarray) -> Path:
    """A data directory of four pieces, 0.5 s to 1.5 s of nearly the same recording (sample, channel) in four files."""
    lines = ["path,label,group,start,end"]
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", np.roll(samples, i, axis=0), RATE, subtype="FLOAT")
        lines.append(f"{i}.wav,{'ab'[i % 2]},{i},0.5,1.5")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    asctool("prep", "table", tmp_path / "table.csv", tmp_path / "data", "--set", "n_folds=2", "--jobs", 1, "--quiet")
    return tmp_path / "data"


def test_copies_train_exactly_where_their_source_does(corpus: Path, varied: Path) -> None:
    clips = {row["clip_id"]: row for row in table(varied / "clips.csv")}
    copies = [row for row in clips.values() if row["method"]]
    originals = table(corpus / "data" / "clips.csv")
    assert len(copies) == 4 * len(originals) and len(clips) == 5 * len(originals)
    before = {(row["fold"], row["clip_id"], row["subset"]) for row in table(corpus / "data" / "folds.csv")}
    after = [(row["fold"], row["clip_id"], row["subset"]) for row in table(varied / "folds.csv")]
    assert before <= set(after) and len(after) == len(set(after))
    expected = {
        (fold, copy["clip_id"], "train")
        for copy in copies
        for fold, clip_id, subset in before
        if clip_id == copy["source_clip_id"] and subset == "train"
    }
    assert set(after) - before == expected and expected
    for copy in copies:
        source = clips[copy["source_clip_id"]]
        assert not source["method"]
        assert (copy["labels"], copy["group"]) == (source["labels"], source["group"])


def test_every_later_stage_takes_the_copies(varied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asctool("verify", varied)
    assert "whole: 120 clips in 120 audio files" in capsys.readouterr().out
    settings = ("--set", f"sample_rate={RATE}", "--set", "segment_frames=40", "--jobs", 1, "--quiet")
    asctool("featurize", varied, tmp_path / "logmel", "--type", "logmel", *settings)
    store = Store(tmp_path / "logmel")
    columns = store.columns("clip_id", "array")
    assert set(columns["clip_id"]) == set(store.tables.by_id)
    of_clip = {clip_id: columns["array"][columns["clip_id"] == clip_id] for clip_id in store.tables.by_id}
    for clip in store.tables.clips:
        if clip.is_copy:
            difference = np.abs(of_clip[clip.clip_id] - of_clip[clip.source_clip_id])
            assert difference.mean() > 0.02  # varied, and
            assert abs(of_clip[clip.clip_id].mean() - of_clip[clip.source_clip_id].mean()) < 2.5  # yet the same sound


def test_pieces_of_a_tone(tmp_path: Path) -> None:
    """Two channels, a piece of a file: the copy is as long; stretching keeps the pitch, shifting moves it in range."""
    seconds = np.arange(2 * RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * seconds)
    data = prepare(tmp_path, np.stack([tone, 0.5 * tone], 1))
    options = ("--set", "min_semitones=2.0", "--set", "max_semitones=3.0", "--set", "length=free", "--jobs", 1)
    asctool("augment", data, tmp_path / "out", *BOTH[:4], *options, "--quiet")
    for row in table(tmp_path / "out" / "clips.csv"):
        if not row["method"]:
            continue
        samples, rate = soundfile.read(tmp_path / "out" / row["path"])
        assert rate == RATE and samples.shape[1] == 2
        assert float(row["duration"]) == pytest.approx(len(samples) / RATE) and float(row["start"]) == 0
        middle = samples[len(samples) // 4 : -len(samples) // 4]
        spectrum = np.abs(np.fft.rfft(middle[:, 0] * np.hanning(len(middle)), 1 << 18))
        semitones = 12 * np.log2(spectrum.argmax() * RATE / (1 << 18) / 1000)
        np.testing.assert_allclose(middle[:, 1], 0.5 * middle[:, 0], atol=1e-3)
        if row["method"] == "time_stretch":
            assert abs(semitones) < 0.1 and 1 / 1.3 - 0.01 < float(row["duration"]) < 1 / 0.8 + 0.01
        else:
            assert 1.9 < semitones < 3.1 and float(row["duration"]) == 1


def test_what_overshoots_is_turned_down_not_clipped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = prepare(tmp_path, np.sign(rng.normal(size=2 * RATE)))
    asctool("augment", data, tmp_path / "out", "--method", "pitch_shift", "--jobs", 1, "--quiet")
    for row in table(tmp_path / "out" / "clips.csv"):
        samples, _ = soundfile.read(tmp_path / "out" / row["path"], dtype="int16")
        if row["method"]:
            assert np.abs(samples.astype(int)).max() == 32767
            assert np.count_nonzero(np.abs(samples.astype(int)) == 32767) < 3


def test_neither_jobs_nor_shares_of_work_change_a_byte(
    corpus: Path, varied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "plan_shards", lambda sizes: [(i, i + 1) for i in range(len(sizes))])
    asctool("augment", corpus / "data", tmp_path / "two", *BOTH, "--jobs", 2)
    assert wavs(tmp_path / "two") == wavs(varied)
    one, two = (json.loads((path / "manifest.json").read_text()) for path in (varied, tmp_path / "two"))
    assert (one["fingerprint"], one["files"]) == (two["fingerprint"], two["files"])


def test_copies_differ_by_seed_number_and_clip(corpus: Path, varied: Path, tmp_path: Path) -> None:
    assert len(set(wavs(varied).values())) == len(wavs(varied))
    options = ("--method", "pitch_shift", "--copies", 2, "--jobs", 1, "--quiet")
    asctool("augment", corpus / "data", tmp_path / "same", *options, "--seed", 7)
    asctool("augment", corpus / "data", tmp_path / "other", *options, "--seed", 8)
    same, other = wavs(tmp_path / "same"), wavs(tmp_path / "other")
    assert same.items() <= wavs(varied).items()  # whatever else is made beside them
    assert all(same[name] != other[name] for name in same)


def test_killed_and_run_again(corpus: Path, varied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["augment", str(corpus / "data"), str(out), *map(str, BOTH), "--jobs", "1"]
    environment = {**os.environ, "ASCTOOL_FAULT": "half-wav:6"}
    killed = subprocess.run([sys.executable, "-m", "asctool", *arguments], env=environment, check=False)
    assert killed.returncode == -9 and not (out / "manifest.json").exists()
    there = {path: path.stat().st_mtime_ns for path in out.glob("copies-*/*.wav")}
    assert len(there) == 5
    damaged, *whole = sorted(there)
    damaged.write_bytes(damaged.read_bytes()[:-2])
    assert run(arguments) == 0
    assert "is damaged; it is made again" in capsys.readouterr().err
    assert wavs(out) == wavs(varied)
    assert all(path.stat().st_mtime_ns == there[path] for path in whole)
    assert not list(out.rglob(".asctool-tmp-*"))


def test_other_options_are_refused_or_replace_all(corpus: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "out", ("--method", "pitch_shift", "--jobs", 1, "--quiet")
    asctool("augment", corpus / "data", out, *options)
    assert run([str(word) for word in ("augment", corpus / "data", out, *options, "--seed", 1)]) == 2
    (out / "copies-of-my-own").mkdir()
    asctool("augment", corpus / "data", out, *options, "--seed", 1, "--force")
    named = {Path(row["path"]).name for row in table(out / "clips.csv") if row["method"]}
    assert {path.name for path in out.glob("copies-*/*")} == named and (out / "copies-of-my-own").is_dir()


def test_labels_and_folds_that_change_leave_the_copies(corpus: Path, tmp_path: Path) -> None:
    made = ("n_clips_per_class=4", "n_recordings_per_class=4", "seconds=2.5", "sample_rate=16000")
    given = [word for setting in made for word in ("--set", setting)]
    options = ("--method", "pitch_shift", "--jobs", 1, "--quiet")
    asctool("augment", corpus / "data", tmp_path / "out", *options)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("copies-*/*")}
    asctool(*("prep", "synthetic", corpus / "audio", tmp_path / "data", *given, "--set", "n_folds=4", "--jobs", 1))
    asctool("augment", tmp_path / "data", tmp_path / "out", *options)
    assert DataDirectory(tmp_path / "out").tables.fold_numbers == [1, 2, 3, 4]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("copies-*/*")} == before
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    asctool("augment", tmp_path / "data", tmp_path / "out", *options)
    assert (tmp_path / "out" / "manifest.json").read_bytes() == manifest


def test_relative_paths_are_seen_from_the_output(varied: Path, corpus: Path, tmp_path: Path) -> None:
    """Copies are not copied again, and those of before stay where they are."""
    asctool("augment", corpus / "data", tmp_path / "first", "--method", "pitch_shift", "--jobs", 1, "--quiet")
    (tmp_path / "deeper").mkdir()
    out = tmp_path / "deeper" / "second"
    asctool("augment", tmp_path / "first", out, "--method", "time_stretch", "--jobs", 1, "--quiet")
    rows = table(out / "clips.csv")
    assert [row["method"] for row in rows] == [""] * 24 + ["pitch_shift"] * 24 + ["time_stretch"] * 24
    assert all(row["path"].startswith("../../first/copies-") for row in rows if row["method"] == "pitch_shift")
    assert all((out / row["path"]).is_file() for row in rows)
    asctool("verify", out)


def test_masked_rows_are_training_rows_with_their_own_targets(corpus: Path, tmp_path: Path) -> None:
    options = ("--method", "spec_augment", "--fold", 1, "--set", "rows_per_row=2.0", "--set", "widest_bands=20")
    for name in ("masked", "again"):
        asctool("augment", corpus / "logmel", tmp_path / name, *options, "--quiet")
    masked, plain = Store(tmp_path / "masked"), Store(corpus / "logmel")
    assert masked.content == Store(tmp_path / "again").content
    columns, before = masked.columns("clip_id", "start", "array", "target"), plain.columns("clip_id", "start", "array")
    trains = [clip for clip, subset in plain.tables.subset_of(1).items() if subset == "train"]
    rows = np.flatnonzero(np.isin(before["clip_id"], trains))
    assert len(columns["clip_id"]) == 2 * len(rows)
    np.testing.assert_array_equal(columns["target"], plain.tables.targets(columns["clip_id"]))
    for made, row in zip(range(len(columns["array"])), np.repeat(rows, 2)):
        assert (columns["clip_id"][made], columns["start"][made]) == (before["clip_id"][row], before["start"][row])
        after, array = columns["array"][made], before["array"][row]
        mean = np.broadcast_to(array.mean((1, 2), keepdims=True), array.shape)
        changed = after != array
        np.testing.assert_allclose(after[changed], mean[changed], rtol=1e-5)
    assert 0.1 < np.mean(columns["array"] != np.repeat(before["array"][rows], 2, axis=0)) < 0.8
    asctool(*("train", tmp_path / "masked", tmp_path / "run", "--model", "cnn", "--fold", 1, "--epochs", 1, *SMALL[:2]))


def test_a_share_of_the_rows_is_spread_over_all_clips(corpus: Path, tmp_path: Path) -> None:
    options = ("--fold", 1, "--set", "rows_per_row=0.5", "--quiet")
    for method in ("mixup", "spec_augment"):
        asctool("augment", corpus / "logmel", tmp_path / method, "--method", method, *options)
        store = Store(tmp_path / method)
        trains = {clip for clip, subset in store.tables.subset_of(1).items() if subset == "train"}
        assert set(store.columns("clip_id")["clip_id"]) == trains and store.manifest["rows"] == 18


BAD = {
    "audio method on features": ("varies the clips of a data directory", "{logmel} {tmp}/o --method time_stretch"),
    "feature method on data": ("featurize it", "{data} {tmp}/o --method mixup --fold 1"),
    "several on features": ("stands alone", "{logmel} {tmp}/o --method mixup,spec_augment --fold 1"),
    "both kinds": ("mixup is for feature stores", "{data} {tmp}/o --method pitch_shift,mixup"),
    "no fold": ("--fold must be given", "{logmel} {tmp}/o --method mixup"),
    "a fold of data": ("--fold is for feature stores", "{data} {tmp}/o --method pitch_shift --fold 1"),
    "copies of features": ("unknown setting 'copies'", "{logmel} {tmp}/o --method mixup --fold 1 --copies 2"),
    "no such method": ("did you mean 'pitch_shift'", "{data} {tmp}/o --method pitchshift"),
    "no copies": ("copies=0", "{data} {tmp}/o --method pitch_shift --set copies=0"),
    "copies of these copies": ("holds such copies already", "{varied} {tmp}/o --method pitch_shift"),
    "output is input": ("input and output at once", "{data} {data} --method pitch_shift"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_makes_no_sense_is_one_line(
    case: str, corpus: Path, varied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, arguments = BAD[case]
    names = {"data": corpus / "data", "logmel": corpus / "logmel", "varied": varied, "tmp": tmp_path}
    assert run(["augment", *(word.format(**names) for word in arguments.split())]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", registry.names("transforms"))
def test_every_transform_tells_what_it_varies(method: str) -> None:
    """By the first argument of its ``apply``: a new file in the folder is a new --method."""
    assert stage.takes(method) in ("clips", "pairs", "rows")
