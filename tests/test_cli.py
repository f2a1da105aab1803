"""The command line itself: what it imports, what it says, how it ends."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from commands import ROOT

from asctool.cli import COMMANDS, run

HEAVY = ("torch", "librosa", "sklearn", "numba", "scipy", "matplotlib", "h5py", "joblib")


def test_help_imports_nothing_heavy() -> None:
    """What --help must not wait for."""
    script = (
        "import sys, asctool.cli\n"
        "assert asctool.cli.run(['--help']) == 0\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for stage in (
        "prep",
        "denoise",
        "featurize",
        "augment",
        "train",
        "extract",
        "svm",
        "fuse",
        "score",
        "info",
        "verify",
    ):
        assert stage in done.stdout


def test_help_in_short_of_the_program_and_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ([], *([name] for name in COMMANDS)):
        assert run([*command, "-h"]) == 0
        short = capsys.readouterr().out
        assert run([*command, "--help"]) == 0
        assert short == capsys.readouterr().out
        assert short.startswith(" ".join(["Usage: asctool", *command])) and "-h" in short


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"asctool {project['version']}\n"


@pytest.mark.parametrize(
    "arguments", [["trian"], ["train", "--fodl"], ["score"], ["featurize", "a", "b", "--jobs", "x"]]
)
def test_slips_of_usage_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asctool.stages.info.info", lambda artifact: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["info", "anything"])


def test_debug_shows_the_traceback_of_an_expected_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "nothing there"]) == run(["info", "nothing there", "--debug"]) == 3
    assert capsys.readouterr().err.count("Traceback") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_a_stage_with_their_code(number: int, code: int, corpus: Path, tmp_path: Path) -> None:
    arguments = ["train", str(corpus / "logmel"), str(tmp_path / "run"), "--model", "att_crnn", "--fold", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "asctool", *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr
    for line in process.stderr:  # until the first epoch is done
        if line.startswith("epoch 1:"):
            break
    os.kill(process.pid, number)
    began = time.monotonic()
    err = process.stderr.read()
    assert process.wait(10) == code
    assert time.monotonic() - began < 10
    assert "stopped; run it again to go on" in err and "Traceback" not in err
    assert not (tmp_path / "run" / "manifest.json").exists()
