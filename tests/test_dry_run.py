"""--dry-run: says what the command would do and writes nothing, at every stage; the disk that it foretells is taken."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from conftest import SMALL, asctool

from asctool.cli import app, run

READ_ONLY = {"info", "verify", "list", "predict"}  # commands that write no artifact: no --dry-run


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below one, with a hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


def foretold(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line that a dry run prints."""
    capsys.readouterr()
    assert run([*map(str, arguments), "--dry-run", "--quiet"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    return line


def n_bytes(line: str) -> float:
    """The size in a line such as "... about 1.5 MB of disk ..."."""
    found = re.search(r"about ([\d.]+) (bytes|kB|MB|GB) of disk", line)
    assert found, line
    return float(found[1]) * {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[found[2]]


def size_of(output: Path) -> int:
    """What lies there: of a run without TensorBoard's copy of the history."""
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def commands(corpus: Path, trained: Path, base: Path) -> dict[str, list[object]]:
    """A command line of every stage that writes an artifact, in their order; outputs lie in ``base``."""
    return {
        "data": ["prep", "synthetic", corpus / "audio", base / "data", *SYNTHETIC],
        "denoised": ["denoise", corpus / "data", base / "denoised", "--jobs", 1],
        "features": ["featurize", corpus / "data", base / "features", "--type", "logmel", *FEATURES],
        "copies": ["augment", corpus / "data", base / "copies", "--method", "pitch_shift", "--jobs", 1],
        "mixed": ["augment", corpus / "logmel", base / "mixed", "--method", "mixup", "--fold", 1],
        "run": ["train", corpus / "logmel", base / "run", "--model", "att_crnn", "--fold", 1, "--epochs", 2, *SMALL],
        "embeddings": ["extract", trained, corpus / "logmel", base / "embeddings", "--kind", "embedding"],
        "attention": ["extract", trained, corpus / "logmel", base / "attention", "--kind", "attention"],
        "svm": ["svm", base / "embeddings", base / "svm"],
        "clips": ["fuse", base / "svm", base / "clips"],
        "scores": ["score", base / "clips", "--out", base / "scores"],
    }


SYNTHETIC = [
    word
    for setting in ("n_clips_per_class=4", "n_recordings_per_class=4", "seconds=2.5", "sample_rate=16000", "n_folds=2")
    for word in ("--set", setting)
]
FEATURES = ["--set", "sample_rate=16000", "--set", "segment_frames=40", "--jobs", 1]


def test_every_stage_foretells_what_it_takes_and_writes_nothing(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside what was foretold stand the manifest, and in a run curves and history."""
    for name, arguments in commands(corpus, trained, tmp_path).items():
        before = tree(tmp_path), tree(corpus)
        line = foretold(capsys, *arguments)
        assert (tree(tmp_path), tree(corpus)) == before, name
        assert line.startswith(f"{tmp_path / name}: {arguments[0]} would write "), line
        asctool(*arguments, "--quiet")
        beside = 70_000 if name == "run" else 12_000
        assert abs(size_of(tmp_path / name) - n_bytes(line)) < 0.1 * size_of(tmp_path / name) + beside, (name, line)
        line = foretold(capsys, *arguments)
        assert line.endswith("made with these options from these inputs; nothing would be done"), line


def test_every_command_that_writes_has_a_dry_run() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        has = "dry_run" in command.callback.__annotations__
        assert has != (name in READ_ONLY), name


def test_a_refusal_is_that_of_the_command_itself(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(corpus / "denoised", tmp_path / "denoised")
    (tmp_path / "file").touch()
    denoise = ["denoise", str(corpus / "data")]
    for arguments, code in (
        ([*denoise, str(tmp_path / "denoised"), "--set", "over_subtraction=3.0"], 2),  # made with other options
        ([*denoise, str(tmp_path / "missing" / "out")], 4),  # no parent
        ([*denoise, str(tmp_path / "file")], 4),
        ([*denoise, str(corpus / "data")], 2),  # output is the input
        (
            [
                "train",
                str(corpus / "logmel"),
                str(tmp_path / "run"),
                "--model",
                "cnn",
                "--fold",
                "1",
                "--select",
                "valid",
            ],
            2,
        ),
    ):
        said = []
        before = tree(tmp_path)
        for dry in (["--dry-run"], []):
            capsys.readouterr()
            assert run([*arguments, *dry]) == code
            said.append(capsys.readouterr())
            assert tree(tmp_path) == before
        assert said[0].err == said[1].err and not said[0].out


def test_a_place_that_another_process_writes_is_named(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as lock:
        lock.write("process 1 on elsewhere")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(["denoise", str(corpus / "data"), str(tmp_path / "out"), "--dry-run"]) == 4
    assert "process 1 on elsewhere is writing it" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the super-user")
def test_a_place_without_permission_is_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert run(["denoise", str(corpus / "data"), str(tmp_path / "out"), "--dry-run"]) == 4
    assert "Permission denied" in capsys.readouterr().err


def test_no_room_is_told_beforehand(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "asctool.storage.rehearsal.shutil.disk_usage", lambda place: shutil._ntuple_diskusage(9, 8, 1000)
    )
    assert run(["denoise", str(corpus / "data"), str(tmp_path / "out"), "--dry-run"]) == 4
    assert re.search(r"no room: about [\d.]+ MB needed, 1.0 kB free", capsys.readouterr().err)


def killed(point: str, *arguments: object) -> None:
    """A command that is killed at a point."""
    environment = {**os.environ, "ASCTOOL_FAULT": point}
    done = subprocess.run(
        [sys.executable, "-m", "asctool", *map(str, arguments)], env=environment, capture_output=True, check=False
    )
    assert done.returncode == -9


def test_what_a_killed_stage_left_is_gone_on_with(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", corpus / "logmel", tmp_path / "run", "--model", "att_crnn", "--fold", 1, "--epochs", 2, *SMALL]
    killed("before-manifest:1", *train)
    assert ", going on after epoch 2;" in foretold(capsys, *train)
    (checkpoint,) = (tmp_path / "run").glob("checkpoint-*.pt")
    damaged = bytearray(checkpoint.read_bytes())
    damaged[1000] ^= 1
    checkpoint.write_bytes(damaged)
    assert "going on" not in foretold(capsys, *train)  # nor is it removed: a dry run touches nothing
    assert checkpoint.read_bytes() == damaged
    denoise = ["denoise", corpus / "data", tmp_path / "denoised", "--jobs", 1]
    killed("before-manifest:1", *denoise)
    n_shards = len(list((tmp_path / "denoised").glob("shard-*.h5")))
    assert f", going on after {n_shards} of {n_shards} shards;" in foretold(capsys, *denoise)
    (shard, *_) = (tmp_path / "denoised").glob("shard-*.h5")
    shard.unlink()
    gone_on = f", going on after {n_shards - 1} of {n_shards} shards;" if n_shards > 1 else ";"
    assert gone_on in foretold(capsys, *denoise)


def test_force_says_what_it_would_replace(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(corpus / "denoised", tmp_path / "denoised")
    before = tree(tmp_path)
    line = foretold(capsys, "denoise", corpus / "data", tmp_path / "denoised", "--force", "--jobs", 1)
    assert "would write a waveform store in the place of what is there (--force); about" in line
    assert tree(tmp_path) == before


def test_tables_that_would_be_brought_up_to_date_are_told(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same clips with other folds: rows stay, tables change."""
    shutil.copytree(corpus / "logmel", tmp_path / "logmel")
    asctool("prep", "synthetic", corpus / "audio", tmp_path / "data", *SYNTHETIC, "--set", "n_folds=3", "--quiet")
    featurize = ["featurize", tmp_path / "data", tmp_path / "logmel", "--type", "logmel", *FEATURES]
    before = tree(tmp_path)
    line = foretold(capsys, *featurize, "--denoised", corpus / "denoised")
    assert line == f"{tmp_path / 'logmel'}: its rows are there; featurize would bring its tables up to date"
    assert tree(tmp_path) == before


def test_submit_foretells_its_file(
    corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asctool("extract", trained, corpus / "logmel", tmp_path / "posteriors", "--kind", "posterior", "--quiet")
    asctool("fuse", tmp_path / "posteriors", tmp_path / "clips", "--quiet")
    submit = ["submit", tmp_path / "clips", tmp_path / "out.csv"]
    line = foretold(capsys, *submit)
    assert not (tmp_path / "out.csv").exists()
    asctool(*submit)
    assert n_bytes(line) == pytest.approx((tmp_path / "out.csv").stat().st_size, abs=60)


def test_prep_says_what_is_bad_without_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("a", "b"):
        (tmp_path / "recordings" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "recordings" / label / "1.wav", [[0.1], [-0.1]] * 4000, 8000)
    (tmp_path / "recordings" / "a" / "2.wav").write_bytes(b"no audio")
    assert run(["prep", "folder", str(tmp_path / "recordings"), str(tmp_path / "data"), "--dry-run"]) == 3
    assert "2.wav" in capsys.readouterr().err and not (tmp_path / "data").exists()


def test_recordings_that_a_corpus_makes_up_are_told_and_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prep = ["prep", "synthetic", tmp_path / "audio", tmp_path / "data", *SYNTHETIC]
    line = foretold(capsys, *prep)
    n_bytes = 24 * (2 * 2.5 * 16000 + 44)  # six scenes of four clips, 16-bit, and a header each
    assert line.endswith(f"prep would write the recordings of synthetic, {n_bytes / 1e6:.1f} MB, then check them")
    assert not list(tmp_path.iterdir())


def test_a_download_is_told_and_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = foretold(capsys, "prep", "dcase2013", tmp_path / "corpus", tmp_path / "data", "--download")
    assert re.search(r"prep would fetch (\d+) of \1 archives, [\d.]+ [GM]B as far as their sizes are known", line)
    assert not list(tmp_path.iterdir())
