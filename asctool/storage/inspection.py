"""Many audio files inspected in processes of their own: a file that crashes its decoder costs a process, not the stage.

A few processes for all files; a new one only where one was lost.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from asctool.errors import EnvironmentFailure
from asctool.storage._source import broken
from asctool.storage.audio import MAX_DECODED_BYTES, AudioFacts

COMMAND = (sys.executable, "-P", "-m", "asctool.storage._inspection_worker")  # -P: nothing of the current directory
START_SECONDS = 120.0  # for a worker to be there, on the slowest of disks
CPU_SECONDS = 30.0  # of a processor for a file, where libsndfile decodes some 50 MB of samples a second
CPU_SECONDS_PER_MB = 1.0  # of the file
WAITING = 10.0  # times as long by the clock, on a machine that has other things to do


def inspect_all(paths: Sequence[str], max_seconds: float, processes: int) -> Iterator[tuple[str, AudioFacts | str]]:
    """Each path with what :func:`audio.inspect` tells of it, or with the reason why it cannot be used, as they come.

    The loss of a worker proves nothing against its file, for others may have used up the memory: the file gets another
    one, once. EnvironmentFailure where no worker can be started.
    """
    todo, tried = deque(paths), set[str]()
    busy: list[_Worker] = []
    idle: list[_Worker] = []
    try:
        while todo or busy:
            while todo and len(busy) < processes:
                worker = idle.pop() if idle else _Worker()
                busy.append(worker)
                worker.ask(todo.popleft(), max_seconds)
            for worker in _heard(busy):
                outcome = worker.outcome()
                if outcome is None:
                    continue
                busy.remove(worker)
                if worker.lives:
                    idle.append(worker)
                elif worker.path not in tried and not worker.late:
                    tried.add(worker.path)
                    todo.append(worker.path)
                    continue
                yield worker.path, outcome
    finally:
        for worker in (*busy, *idle):
            worker.end()


def _heard(busy: "Sequence[_Worker]") -> "list[_Worker]":
    """Workers that have something to say, or should have had by now."""
    patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
    spoke = wait([worker.answers for worker in busy], patience)
    now = time.monotonic()
    return [worker for worker in busy if worker.answers in spoke or worker.deadline <= now]


class _Worker:
    """A process that inspects one file after the other; ``path`` is the one it is at, or was."""

    def __init__(self) -> None:
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `end`)
        self.path, self.heard = "", b""
        self.there, self.lives, self.late = False, True, False
        self.process = subprocess.Popen(
            [*COMMAND, str(MAX_DECODED_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path)},  # noqa: PTH100
        )
        assert self.process.stdin and self.process.stdout
        self.requests, self.answers = self.process.stdin.fileno(), self.process.stdout.fileno()

    def ask(self, path: str, max_seconds: float) -> None:
        """Begin with a file."""
        self.path = path
        self.cpu_seconds = CPU_SECONDS + CPU_SECONDS_PER_MB * _megabytes(path)
        self.deadline = time.monotonic() + (WAITING * self.cpu_seconds if self.there else START_SECONDS)
        request = {"path": path, "max_seconds": max_seconds, "cpu_seconds": self.cpu_seconds}
        with contextlib.suppress(BrokenPipeError):  # it is gone, as reading will show
            os.write(self.requests, json.dumps(request).encode() + b"\n")

    def outcome(self) -> AudioFacts | str | None:
        """What became of the file; None where that is not known yet."""
        if not wait([self.answers], 0):
            self.end()
            self.late = True
            if not self.there:
                raise EnvironmentFailure(f"a process to decode audio in does not start within {START_SECONDS:.0f} s")
            return self._reason(f"is not decoded after {WAITING * self.cpu_seconds:.0f} s; leave it out")
        data = os.read(self.answers, 1 << 16)
        if not data:
            return self._lost()
        self.heard += data
        *lines, self.heard = self.heard.split(b"\n")
        answers = [json.loads(line) for line in lines]
        if answers and not self.there:
            self.there, answers = True, answers[1:]
            self.deadline = time.monotonic() + WAITING * self.cpu_seconds
        return self._understood(answers[0]) if answers else None

    def _understood(self, answer: dict[str, Any]) -> AudioFacts | str:
        if "bug" in answer:
            raise RuntimeError(f"{self.path}: {answer['bug']}")
        if "memory" in answer:
            return self._reason(f"needs more than {MAX_DECODED_BYTES >> 20} MiB to be decoded; leave it out")
        if "reason" in answer:
            return str(answer["reason"])
        facts = answer["facts"]
        return AudioFacts(**{**facts, "warnings": tuple(facts["warnings"])})

    def _lost(self) -> str:
        """Why a file is not to be used whose worker has ended."""
        code = self.process.wait()
        self.complaints.seek(0)
        said = self.complaints.read().decode(errors="replace").strip().splitlines()
        self.end()
        if not self.there:
            raise EnvironmentFailure(f"no process to decode audio in can be started: {said[-1] if said else code}")
        if code == -signal.SIGXCPU:
            self.late = True
            return self._reason(f"is not decoded after {self.cpu_seconds:.0f} s of a processor; leave it out")
        name = signal.Signals(-code).name if code < 0 else f"exit {code}"
        return self._reason(f"ends the process that decodes it ({name}), twice; leave it out")

    def _reason(self, reason: str) -> str:
        return str(broken(Path(self.path), reason))

    def end(self) -> None:
        """No more of it."""
        self.lives = False
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.complaints):
            assert file
            file.close()


def _megabytes(path: str) -> float:
    try:
        return Path(path).stat().st_size / 1e6
    except (OSError, ValueError):  # the worker will say what is wrong with it
        return 0.0
