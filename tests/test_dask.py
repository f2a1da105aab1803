"""A Dask scheduler and workers that the tests start and end: the same content, whoever is killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="dask is not installed (extra dask)")

from soak.chain import check_settled

from asctool import parallel
from asctool.cli import run
from asctool.errors import UsageError
from asctool.parallel import cluster
from asctool.stages.verify import verify
from asctool.storage import manifest, reach, shards
from asctool.storage.data_directory import DataDirectory
from asctool.storage.parts import Part

SHARD_BYTES = 150_000  # so that a corpus of seconds makes several
QUIET = {"OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__LOGGING__DISTRIBUTED": "error"}


class Dask:
    """A scheduler, and workers as they are asked for; all of them end with the context."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        told = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", told)
        until(told.exists)
        until(lambda: told.read_text().endswith("}"))
        self.address = json.loads(told.read_text())["address"]

    def _start(self, what: str, *arguments: object, fault: str = "") -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--no-dashboard", *map(str, arguments)]
        env = {**os.environ, **QUIET, **({"ASCTOOL_FAULT": fault} if fault else {})}
        with (self.folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        self.processes.append(process)
        return process

    def worker(self, fault: str = "") -> "subprocess.Popen[bytes]":
        """A worker of one thread, which stops at a named point where a fault is given."""
        before = self.n_workers()
        arguments = ("--nthreads", 1, "--no-nanny", "--local-directory", self.folder, "--host", "127.0.0.1")
        process = self._start("worker", self.address, *arguments, fault=fault)
        until(lambda: self.n_workers() == before + 1)
        return process

    def n_workers(self) -> int:
        return len(self.ask(lambda dask_scheduler: list(dask_scheduler.workers)))

    def n_tasks(self) -> int:
        return int(self.ask(lambda dask_scheduler: len(dask_scheduler.tasks)))

    def ask(self, function: Callable[..., object]) -> object:
        """Something of the scheduler."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return client.run_on_scheduler(function)

    def __enter__(self) -> "Dask":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait(10)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    """A scheduler and two workers."""
    with Dask(tmp_path_factory.mktemp("dask")) as dask:
        dask.worker()
        dask.worker()
        yield dask


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.plan_shards, "__defaults__", (SHARD_BYTES,))


def asctool(*arguments: object) -> int:
    return run([*map(str, arguments), "--quiet"])


def identity(output: Path) -> object:
    """What an artifact holds; of a data directory what its clips sound like, and its tables."""
    verify(output)
    found = manifest.read(output)
    if found["kind"] == "data":
        data = DataDirectory(output)
        return [data.content(), data.tables]
    return [found["fingerprint"], found["content"], found["shards"], found["files"]]


SYNTHETIC = ("n_clips_per_class=4", "n_recordings_per_class=4", "seconds=2.5", "sample_rate=16000", "n_folds=2")


def commands(corpus: Path, run_: Path) -> dict[str, list[object]]:
    """A command line of each stage that takes --scheduler, without its output."""
    data = corpus / "data"
    return {
        "prep": ["prep", "synthetic", corpus / "audio", *(w for s in SYNTHETIC for w in ("--set", s))],
        "denoise": ["denoise", data],
        "featurize": [
            *("featurize", data, "--type", "logmel", "--denoised", corpus / "denoised"),
            *("--set", "sample_rate=16000", "--set", "segment_frames=40"),
        ],
        "augment": ["augment", data, "--method", "time_stretch"],
        "extract": ["extract", run_, corpus / "logmel", "--kind", "embedding"],
    }


def line(command: Sequence[object], output: Path) -> list[object]:
    """The command line with its output behind its inputs."""
    first_option = next((i for i, word in enumerate(command) if str(word).startswith("--")), len(command))
    return [*command[:first_option], output, *command[first_option:]]


@pytest.mark.parametrize("stage", ["prep", "denoise", "featurize", "augment", "extract"])
def test_the_same_content(
    stage: str, dask: Dask, corpus: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stage == "extract":
        monkeypatch.setattr(shards.plan_shards, "__defaults__", (1500,))
    command = commands(corpus, trained)[stage]
    jobs = () if stage == "extract" else ("--jobs", 1)
    assert asctool(*line(command, tmp_path / "here"), *jobs) == 0
    assert asctool(*line(command, tmp_path / "there"), "--scheduler", dask.address) == 0
    assert identity(tmp_path / "there") == identity(tmp_path / "here")
    check_settled(tmp_path / "there")


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(dask: Dask, corpus: Path, tmp_path: Path) -> None:
    """It takes a shard as the others do and dies with it written by half."""
    doomed = dask.worker(fault="half-shard:1")
    out = tmp_path / "out"
    assert asctool("denoise", corpus / "data", out, "--scheduler", dask.address) == 0
    assert doomed.wait(10) == -signal.SIGKILL
    assert asctool("denoise", corpus / "data", tmp_path / "here", "--jobs", 1) == 0
    assert identity(out) == identity(tmp_path / "here")


def test_a_task_that_kills_every_worker_is_named(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """First the only worker there is, then as many as the scheduler lets a task end; at last the scheduler goes."""
    monkeypatch.setattr(cluster, "WORKER_SECONDS", 1.0)
    monkeypatch.setattr(shards.plan_shards, "__defaults__", (1 << 30,))  # one shard, and no other task to be suspected
    command = ("denoise", corpus / "data", tmp_path / "out")
    with Dask(tmp_path) as dask:
        told(capsys, 4, "has had no workers for 1 s; start some", *command, "--scheduler", dask.address)
        dask.worker(fault="before-shard:1")
        words = "has had no workers for 1 s; shard 1 of 1 (clips 1 to 24) was being done when they went"
        told(capsys, 4, words, *command, "--scheduler", dask.address)
        monkeypatch.undo()
        monkeypatch.setattr(shards.plan_shards, "__defaults__", (1 << 30,))
        dask.ask(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        dask.worker(fault="before-shard:1")
        words = "shard 1 of 1 (clips 1 to 24) ended every Dask worker that took it, 1 of them"
        told(capsys, 4, words, *command, "--scheduler", dask.address)
        monkeypatch.setattr(cluster, "_check_versions", lambda client, address: dask.processes[0].kill())
        words = f"the Dask scheduler at {dask.address} is gone; run this again to go on"
        told(capsys, 4, words, *command, "--scheduler", dask.address)
    assert asctool(*command, "--jobs", 1) == 0  # goes on


def told(capsys: pytest.CaptureFixture[str], code: int, words: str, *arguments: object) -> None:
    """A command that fails, in one line."""
    capsys.readouterr()
    assert asctool(*arguments) == code
    (only,) = capsys.readouterr().err.splitlines()
    assert words in only


def test_no_scheduler_there(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody listens; somebody who is no scheduler listens; what cannot be an address."""
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    command = ("denoise", corpus / "data", tmp_path / "out", "--scheduler")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        told(capsys, 4, f"no Dask scheduler answers at {address} within 1 s", *command, address)
    told(capsys, 4, f"no Dask scheduler answers at {address} within 1 s", *command, address)
    told(capsys, 2, "--scheduler somewhere: give its address", *command, "somewhere")


def test_dask_that_is_not_installed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    command = ("denoise", corpus / "data", tmp_path / "out", "--scheduler", "tcp://127.0.0.1:1")
    told(capsys, 4, "pip install 'asctool[dask]'", *command)


def test_workers_with_other_code_or_files_are_refused(
    dask: Dask, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This side is made to be another one: to a worker it is the same."""
    command = ("denoise", corpus / "data", tmp_path / "out", "--scheduler", dask.address)
    with monkeypatch.context() as patch:
        patch.setattr(reach, "code", lambda: "other")
        told(capsys, 4, "has another asctool, in", *command)
    with monkeypatch.context() as patch:
        patch.setattr(reach, "hashes", lambda files: {"/nowhere/manifest.json": "0" * 64})
        told(capsys, 4, "cannot read /nowhere/manifest.json (No such file or directory)", *command)
    with monkeypatch.context() as patch:
        patch.setattr(reach, "hashes", lambda files: dict.fromkeys(map(str, files), "0" * 64))
        told(capsys, 4, f"has another {tmp_path}/out/.lock; inputs and output must lie where", *command)
    with monkeypatch.context() as patch:
        patch.setattr("distributed.versions._version_cached", lambda name: "9.9" if name == "asctool" else "1")
        told(capsys, 4, "has asctool 0.1.0, where 9.9 runs here", *command)
    assert asctool(*command) == 0


def test_errors_of_a_task_are_raised_as_they_are(dask: Dask) -> None:
    how = parallel.How(scheduler=dask.address)
    assert sorted(parallel.run(abs, [-1, 2], how)) == [(-1, 1), (2, 2)]
    assert list(parallel.run(abs, [], how)) == []
    with pytest.raises(UsageError, match="--part 0/1: give a number"):
        list(parallel.run(Part.parse, ["0/1"], how))
    with pytest.raises(ValueError, match="invalid literal"):
        list(parallel.run(int, ["x"], how))


def test_ctrl_c_takes_the_tasks_with_it(dask: Dask, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"from asctool.storage import shards\nshards.plan_shards.__defaults__ = ({SHARD_BYTES // 4},)\n"
    code += "import sys\nfrom asctool.__main__ import main\nmain()\n"
    command = ["denoise", corpus / "data", out, "--scheduler", dask.address, "--quiet"]
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, command)], stderr=subprocess.PIPE, text=True)
    until(lambda: list(out.glob("shard-*")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130 and err == "asctool denoise: stopped; run it again to go on\n"
    assert not (out / manifest.NAME).exists()
    until(lambda: dask.n_tasks() == 0, 10)
    assert dask.n_workers() == 2
    assert asctool(*command) == 0
    verify(out)


def test_dask_is_imported_only_when_it_is_asked_for(corpus: Path, tmp_path: Path) -> None:
    code = "import sys\nfrom asctool.cli import run\nrun(sys.argv[1:])\n"
    code += "print('dask' in sys.modules, 'distributed' in sys.modules)"
    command = [sys.executable, "-c", code, "denoise", corpus / "data", tmp_path / "out", "--dry-run"]
    done = subprocess.run(
        [*map(str, command), "--scheduler", "tcp://127.0.0.1:1"], capture_output=True, text=True, check=True
    )
    assert "denoise would write a waveform store" in done.stdout
    assert done.stdout.endswith("False False\n")


def test_what_is_there_needs_no_scheduler(corpus: Path, tmp_path: Path) -> None:
    assert asctool("denoise", corpus / "data", corpus / "denoised", "--scheduler", "tcp://127.0.0.1:1") == 0


def test_a_machine_knows_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("here")
    assert reach.lacking(reach.code(), reach.hashes([path])) == ""
    told = reach.hashes([path])
    path.write_text("there")
    assert "has another" in reach.lacking(reach.code(), told)
    assert "has another asctool" in reach.lacking("0", told)
