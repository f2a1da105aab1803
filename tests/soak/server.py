"""A process that has imported everything once and forks for every command line, so that a fault costs no start-up.

It never computes anything itself: threads of OpenMP do not survive a fork.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asctool

PRELOADED = (
    *("torch", "torch._dynamo", "torch.utils.tensorboard", "sklearn.svm", "h5py", "joblib", "numba", "librosa"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "soundfile", "soxr", "scipy.fft", "scipy.optimize"),
    *("tensorboard.compat.proto.event_pb2", "tensorboard.summary.writer.record_writer", "python_stretch.Signalsmith"),
    *(module.name for module in pkgutil.walk_packages(asctool.__path__, "asctool.") if not module.name.endswith("__")),
)
SHARD_BYTES = 150_000  # so that a corpus of seconds makes several


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int  # negative: the signal that killed it
    seconds: float  # since it was asked for
    err: str

    def __str__(self) -> str:
        return f"exit {self.code} after {self.seconds:.1f} s: {self.err}"


class Server:
    """The client's side; use as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started: dict[int, tuple[float, Path]] = {}

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def _ask(self, **request: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(
        self,
        arguments: Sequence[object],
        fault: str = "",
        env: Mapping[str, str] | None = None,
        limits: Mapping[str, int] | None = None,
        patches: Mapping[str, Any] | None = None,
        user: int | None = None,
    ) -> int:
        """Start a command line in a process group of its own; its process id."""
        err = self.folder / f"err-{len(self.started)}"
        err.touch()
        pid = self._ask(
            arguments=[str(a) for a in arguments],
            env={**(env or {}), **({"ASCTOOL_FAULT": fault} if fault else {})},
            limits=dict(limits or {}),
            patches=dict(patches or {}),
            user=user,
            err=str(err),
        )
        self.started[pid] = (time.monotonic(), err)
        return int(pid)

    def wait(self, pid: int, timeout: float = 60) -> Outcome:
        """Wait for its end; one that does not end in time is killed, and an error."""
        code = self._ask(wait=pid, timeout=timeout)
        began, err = self.started[pid]
        if code is None:
            os.killpg(pid, signal.SIGKILL)
            raise AssertionError(f"still running after {timeout} s: {err.read_text()}")
        return Outcome(code, time.monotonic() - began, err.read_text())

    def run(self, arguments: Sequence[object], timeout: float = 60, **how: Any) -> Outcome:
        """Start and wait."""
        return self.wait(self.start(arguments, **how), timeout)


def gone(pid: int, seconds: float) -> bool:
    """Whether a group has no process left, within some seconds."""
    deadline = time.monotonic() + seconds
    while group(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not group(pid)


def group(pid: int) -> list[int]:
    """Processes of a group that still live."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group = status.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == pid and state not in "ZX":
                found.append(int(status.parent.name))
    return found


def _serve() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # networks this small wait longer for a second thread than it helps
    for name in PRELOADED:
        importlib.import_module(name)
    from asctool.storage import shards

    shards.plan_shards.__defaults__ = (SHARD_BYTES,)
    gc.freeze()  # a child that collects garbage would copy every page
    channel = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _wait(request["wait"], request["timeout"])
        else:
            answer = os.fork()
            if answer == 0:
                channel.close()
                _become(request)
        channel.write(json.dumps(answer) + "\n")
        channel.flush()


def _wait(pid: int, timeout: float) -> int | None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    return None


def _become(request: dict[str, Any]) -> None:
    """Be the command line: in a fork of the server, to the end of the process."""
    os.setpgid(0, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    err = os.open(request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for handle, old in ((0, nothing), (1, nothing), (2, err)):
        os.dup2(old, handle)
    os.environ.pop("ASCTOOL_FAULT", None)
    os.environ.update(request["env"])
    for name, value in request["patches"].items():
        owner, _, attribute = name.rpartition(".")
        setattr(pkgutil.resolve_name(owner), attribute, tuple(value) if isinstance(value, list) else value)
    if request["user"] is not None:
        os.setgid(request["user"])
        os.setuid(request["user"])
    for name, value in request["limits"].items():
        if name == "RLIMIT_AS":  # what is left to be had
            value += int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(getattr(resource, name), (value, value))
    from asctool.cli import run

    code = run(request["arguments"])
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stderr.flush()
    os._exit(code)  # what is left of an orderly end is freeing memory, for a second


if __name__ == "__main__":
    _serve()
