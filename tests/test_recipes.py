"""Recipes with a stand-in for asctool: what they call, where they stop, what they say to slips."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

RECIPES = Path(__file__).parents[1] / "recipes"
STUB = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
case "$1" in "$FAILING") echo "no more" >&2; exit 3 ;; esac
"""


def script(name: str) -> Path:
    """A recipe by its folder, where it is run.sh, or by folder and name: esc10, esc10/jung2020."""
    return RECIPES / f"{name}.sh" if "/" in name else RECIPES / name / "run.sh"


def recipe(
    name: str, tmp_path: Path, *options: str, failing: str = "", helpers: bool = False
) -> tuple[int, list[str], str]:
    """Run a recipe with a stand-in; its status, the stages it called in order, what it said.

    With ``helpers`` the stand-in also takes the place of python: a program of the recipe's own is a stage, too.
    """
    stub = tmp_path / "stub"
    stub.write_text(STUB)
    stub.chmod(0o755)
    calls = tmp_path / "calls"
    calls.write_text("")
    environment = os.environ | {"ASCTOOL": str(stub), "CALLS": str(calls), "FAILING": failing}
    if helpers:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "python3").write_text(f'#!/usr/bin/env bash\nexec {stub} "$(basename "$1")" "${{@:2}}"\n')
        (tmp_path / "bin" / "python3").chmod(0o755)
        environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", script(name), "--out", tmp_path / "out", *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, calls.read_text().splitlines(), done.stderr


STAGES = {
    "mini": ["prep", "denoise", "featurize", "augment", "train", "extract", "svm", "fuse", "score"],
    "esc10": ["prep", "denoise", "featurize", "train", "extract", "svm", "fuse", "score"],
    "dcase2013": ["prep", "denoise", "featurize", "train", "extract", "svm", "fuse", "score"],
}
CORPUS = {"mini": (), "esc10": ("--corpus", "somewhere"), "dcase2013": ("--corpus", "somewhere")}


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("name", STAGES)
def test_a_recipe_calls_its_stages_in_order(name: str, jobs: str, tmp_path: Path) -> None:
    status, calls, _ = recipe(name, tmp_path, *CORPUS[name], "--folds", "1-2", "--jobs", jobs)
    assert status == 0
    called = [call.split()[0] for call in calls]
    first = [called.index(stage) for stage in STAGES[name]]
    assert first == sorted(first)
    systems = 2 * (1 if name == "mini" else 2) * 2  # folds, networks, features
    assert called.count("train") == called.count("svm") == systems


NO_OPTIONS = {"here", "corpus_name", "default_systems"}
ALL = sorted(
    path.parent.name if path.stem == "run" else f"{path.parent.name}/{path.stem}"
    for path in RECIPES.glob("*/*.sh")
    if path.parent.name != "common"
)
WHOLE = {  # options with which a recipe does all that it can, on as little as possible
    "mini": ("--folds", "1"),
    "litis": ("--corpus", "somewhere", "--splits", "1"),
    "dcase2019": ("--corpus", "somewhere", "--tagger", "a-run", "--system", "both-4-3"),
}


@pytest.mark.parametrize("name", ALL)
def test_each_stage_that_fails_stops_the_recipe_with_its_status(name: str, tmp_path: Path) -> None:
    """Those that were to come after it are not begun, though as many run side by side as may."""
    options = (*WHOLE.get(name, ("--corpus", "somewhere", "--folds", "1")), "--jobs", "2")
    status, calls, err = recipe(name, tmp_path, *options, helpers=True)
    assert status == 0, err
    order = list(dict.fromkeys(call.split()[0] for call in calls))
    assert {"prep", "featurize", "train", "extract", "score"} <= set(order)
    for place, stage in enumerate(order):
        status, calls, err = recipe(name, tmp_path, *options, failing=stage, helpers=True)
        assert status == 3, f"{stage}: {err}"
        assert stage in {call.split()[0] for call in calls}
        assert not {call.split()[0] for call in calls} & set(order[place + 1 :]), stage


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_recipe_leaves_no_training_behind(number: int, tmp_path: Path) -> None:
    stub = tmp_path / "stub"
    end = "trap 'sleep 0.5; exit 143' TERM"  # a stage that is stopped takes a moment to clear up
    stub.write_text(
        f'#!/usr/bin/env bash\n{end}\nif [ "$1" = train ]; then echo $$ >> {tmp_path}/pids; sleep 60 & wait; fi\n'
    )
    stub.chmod(0o755)
    command = ["bash", RECIPES / "esc10" / "run.sh", "--corpus", "somewhere", "--out", tmp_path / "out", "--jobs", "2"]
    process = subprocess.Popen(command, env=os.environ | {"ASCTOOL": str(stub)}, stderr=subprocess.DEVNULL)
    pids = tmp_path / "pids"
    for _ in range(200):
        if pids.exists() and len(pids.read_text().split()) == 2:
            break
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert not [pid for pid in pids.read_text().split() if lives(pid)]


def lives(pid: str) -> bool:
    """Whether a process runs; one that has ended and waits to be asked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_one_stage_alone(tmp_path: Path) -> None:
    status, calls, _ = recipe("esc10", tmp_path, "--stage", "6", "--stop-stage", "6", "--folds", "3", "--system", "cnn")
    assert status == 0
    assert [call.split()[0] for call in calls] == ["svm", "svm"]
    assert all("/fold3/cnn-" in call for call in calls)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fold", "1"], "unknown option --fold"),
        (["--stage"], "--stage needs a value"),
        (["--folds", "one"], "not a range of folds"),
        (["--folds", "5-1"], "not a range of folds"),
        (["--folds", "0"], "not a range of folds"),
        (["--folds", "1,1-2"], "not a range of folds"),
        (["--jobs", "two"], "--jobs takes a whole number, not 'two'"),
        (["--stage", "x"], "--stage takes a whole number"),
        (["stray"], "unexpected argument stray"),
        ([], "give --corpus"),
    ],
)
def test_slips_end_a_recipe_with_status_2(options: list[str], words: str, tmp_path: Path) -> None:
    status, calls, err = recipe("esc10", tmp_path, *options)
    assert status == 2 and words in err and calls == []


@pytest.mark.parametrize("name", ALL)
def test_slips_end_every_recipe_with_status_2(name: str, tmp_path: Path) -> None:
    for slip in (["--no-such-option", "1"], ["--stop-stage"], ["stray"]):
        status, calls, err = recipe(name, tmp_path, *slip)
        assert (status, calls, len(err.splitlines())) == (2, [], 1) and slip[0] in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ALL)
def test_help_lists_every_option_and_does_nothing(name: str, tmp_path: Path) -> None:
    status, calls, err = recipe(name, tmp_path, "--help")
    assert (status, calls, err) == (0, [], "") and not (tmp_path / "out").exists()
    done = subprocess.run(["bash", script(name), "--help"], capture_output=True, text=True, check=True)
    options, _, _ = script(name).read_text().partition('/common/begin.sh"')
    if name in ("esc10", "esc50"):
        options, _, _ = (RECIPES / "common" / "esc.sh").read_text().partition('/common/begin.sh"')
    defaults = {line.partition("=")[0] for line in options.splitlines() if re.match("[a-z_]+=", line)} - NO_OPTIONS
    missing = {name for name in defaults if f"--{name.replace('_', '-')}" not in done.stdout}
    assert {"stage", "stop_stage", "jobs", "out", "seed"} <= defaults and not missing


def test_shellcheck_finds_nothing() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (it is among the dev extras)")
    scripts = [*RECIPES.glob("*/*.sh"), RECIPES.parent / "tests" / "run.sh", RECIPES.parent / ".ci" / "run"]
    done = subprocess.run(["shellcheck", "-S", "warning", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
