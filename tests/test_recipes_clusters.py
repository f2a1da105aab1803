"""Where recipes/common/cmd.sh has commands run, with stand-ins for asctool and for Slurm's commands."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

MINI = Path(__file__).parents[1] / "recipes" / "mini" / "run.sh"
STUBS = {
    "stub": """echo "$*" >> "$CALLS"; case "$*" in *"$FAILING"*) echo "no more" >&2; exit 3 ;; esac""",
    # What sbatch --wait does: the number of the job at once, then every part, and the worst of their statuses.
    "sbatch": """
        echo "sbatch $*" >> "$SUBMITTED"; echo 17
        while [ $# -gt 0 ]; do
          case "$1" in --array=1-*) n=${1#--array=1-} ;; --output=*) log=${1#--output=} ;; --wrap) wrap=$2 ;; esac
          shift
        done
        worst=0; log=${log//%x/asctool-featurize}; log=${log//%A/17}
        for i in $(seq "$n"); do
          SLURM_ARRAY_TASK_ID=$i bash -c "$wrap" > "${log//%a/$i}" 2>&1 || worst=$?
        done
        [ -z "${HANGS:-}" ] || exec sleep 60
        exit $worst""",
    "srun": """echo "srun $*" >> "$SUBMITTED"; while [ "${1#-}" != "$1" ]; do shift; done; exec "$@" """,
    "scancel": """echo "scancel $*" >> "$SUBMITTED" """,
}
OPTIONS = ("--folds", "1", "--epochs", "1")


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Stand-ins in the place of asctool and of Slurm."""
    for name, body in STUBS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    for name in ("calls", "submitted"):
        (tmp_path / name).write_text("")
    return os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "ASCTOOL": str(tmp_path / "stub"),
        "CALLS": str(tmp_path / "calls"),
        "SUBMITTED": str(tmp_path / "submitted"),
        "FAILING": "what none is called",
        **more,
    }


def mini(tmp_path: Path, *options: str, **more: str) -> tuple[int, list[str], list[str], str]:
    """The recipe's status, what asctool and Slurm were called with, and what it said."""
    command = ["bash", MINI, "--out", tmp_path / "out", *OPTIONS, *options]
    done = subprocess.run(
        command, env=environment(tmp_path, **more), capture_output=True, text=True, timeout=60, check=False
    )
    calls, submitted = ((tmp_path / name).read_text().splitlines() for name in ("calls", "submitted"))
    return done.returncode, calls, submitted, done.stderr


def test_dask_gets_the_stages_that_it_can_do(tmp_path: Path) -> None:
    status, calls, _, err = mini(tmp_path, ASCTOOL_CMD="dask", ASCTOOL_SCHEDULER="tcp://host:8786")
    assert status == 0, err
    spread = {call.split()[0] for call in calls if call.endswith(" --scheduler tcp://host:8786")}
    alone = {call.split()[0] for call in calls if "--scheduler" not in call}
    assert spread == {"prep", "denoise", "featurize", "extract"}
    assert alone == {"augment", "train", "svm", "fuse", "score"}  # augment of features
    status, calls, _, err = mini(tmp_path, ASCTOOL_CMD="dask")
    assert status != 0 and calls == [] and "ASCTOOL_SCHEDULER: tcp://host:8786" in err


def test_slurm_gets_array_jobs_of_what_has_parts_and_a_job_of_all_else(tmp_path: Path) -> None:
    more = {"ASCTOOL_PARTS": "3", "ASCTOOL_SLURM": "--partition=cpu --mem=4G"}
    status, calls, submitted, err = mini(tmp_path, ASCTOOL_CMD="slurm", **more)
    assert status == 0, err
    of_denoise = [call for call in calls if call.startswith("denoise")]
    assert [call.rpartition(" --part ")[2] for call in of_denoise] == ["1/3", "2/3", "3/3"]
    assert len({call.rpartition(" --part ")[0] for call in of_denoise}) == 1
    arrays = [line for line in submitted if line.startswith("sbatch")]
    assert all("--array=1-3" in line and "--partition=cpu --mem=4G" in line for line in arrays)
    assert len(arrays) == 1 + 2 + 4  # denoise; two features; two kinds of two systems
    in_jobs = {line.split(f"{tmp_path}/stub ")[1].split()[0] for line in submitted if line.startswith("srun")}
    assert in_jobs == {"prep", "augment", "train", "svm", "fuse", "score"}
    assert not any("--jobs" in call for call in calls)  # as many as the node has cores


def test_a_part_that_fails_ends_the_recipe_with_its_status(tmp_path: Path) -> None:
    status, calls, _, err = mini(tmp_path, "--stop-stage", "3", ASCTOOL_CMD="slurm", FAILING="logmel --type logmel")
    assert status == 3 and "failed with status 3" in err and "no more" in err
    assert not any("gammatone" in call for call in calls)


def test_a_stopped_recipe_cancels_its_array_job(tmp_path: Path) -> None:
    command = ["bash", MINI, "--out", tmp_path / "out", "--stage", "2", "--stop-stage", "2"]
    env = environment(tmp_path, ASCTOOL_CMD="slurm", HANGS="1")
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 30
    while len((tmp_path / "calls").read_text().splitlines()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(20) != 0
    assert "scancel 17" in (tmp_path / "submitted").read_text()


@pytest.mark.parametrize("name", ["nowhere", "one two"])
def test_an_unknown_place_is_a_slip(name: str, tmp_path: Path) -> None:
    status, calls, _, err = mini(tmp_path, ASCTOOL_CMD=name)
    assert status == 2 and calls == [] and f"ASCTOOL_CMD={name}: there are local, dask and slurm" in err
