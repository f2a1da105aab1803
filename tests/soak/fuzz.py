"""Damaged and crafted inputs by the thousand; ``python -m tests.soak fuzz`` runs them, ``tests/test_fuzzing.py`` some.

Each case is drawn from (seed, kind, number) alone. A kind is a function that makes what a case reads, and reads it as a
stage would; it may raise an AsctoolError and nothing else. Bytes that hashes would refuse get new hashes half the time,
as a hostile hand would do it. Cases run in processes of their own, so that one which crashes or hangs is known by name.
"""

import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from asctool.errors import AsctoolError
from soak import fuzz_kinds

START_SECONDS = 600.0  # until all that is damaged has been made
HANG_SECONDS = 60.0  # for a case, of which most take milliseconds, on a machine that has other things to do
ROOM = 1536 << 20  # bytes that may be allocated: more than any of these inputs has a right to
MEMORY = Path("/dev/shm")  # where nothing waits for a disk
BATCH = 500  # cases a process


@dataclass(frozen=True)
class Finding:
    """A case that ended in another way than it may."""

    kind: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.number}: {self.what}"


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """All that is random about a case."""
    return np.random.default_rng([seed, zlib.crc32(kind.encode()), number])


def try_case(kind: str, number: int, seed: int, folder: Path) -> str:
    """``accepted``, ``refused``, or the traceback of what must not be."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        fuzz_kinds.KINDS[kind](generator(seed, kind, number), folder)
    except AsctoolError as error:
        return "refused" if _is_told(str(error)) else f"refused in other words than a line: {error!r}"
    except BaseException:
        return traceback.format_exc()
    return "accepted"


def _is_told(message: str) -> bool:
    """One line; what is told of several files or lines of a table comes below it, indented."""
    first, *others = message.splitlines() or [""]
    return bool(first.strip()) and all(line.startswith("  ") for line in others) and len(message) < 20_000


def cases(kind: str, numbers: Sequence[int], seed: int) -> Iterator[tuple[int, str]]:
    """Each number with what became of its case, in processes that may crash or hang."""
    todo = list(numbers)
    while todo:
        batch, ended = todo[:BATCH], ""
        for number, outcome in _in_process(kind, batch, seed):
            if number < 0:
                ended = outcome
                break
            todo.pop(0)
            yield number, outcome
        if ended:
            yield todo.pop(0), ended


def _in_process(kind: str, batch: Sequence[int], seed: int) -> Iterator[tuple[int, str]]:
    """Outcomes of a process; -1 with the reason where it ends before its time or falls silent."""
    command = [sys.executable, __file__, kind, str(seed), str(batch[0]), str(batch[-1] + 1)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout
        waiting, left = b"", len(batch) + 1  # the first line says that it is there
        while left:
            patience = START_SECONDS if left > len(batch) else HANG_SECONDS
            if not select.select([process.stdout], [], [], patience)[0]:
                process.kill()
                yield -1, f"hangs: nothing in {patience:.0f} s"
                return
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                if process.wait() > 0:  # an error of this program, not of a case
                    complaints.seek(0)
                    raise RuntimeError(complaints.read().decode(errors="replace")[-2000:])
                yield -1, f"ends its process with status {process.returncode}"
                return
            *lines, waiting = (waiting + data).split(b"\n")
            for line in lines:
                if left <= len(batch):
                    yield tuple(json.loads(line))
                left -= 1


def _serve(kind: str, seed: int, first: int, end: int) -> None:
    """Be the process: an outcome a line."""
    fuzz_kinds.prepare()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory(prefix="asctool-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as base:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for number in range(first, end):
            outcome = try_case(kind, number, seed, Path(base) / "case")
            sys.stdout.write(json.dumps([number, outcome]) + "\n")
            sys.stdout.flush()


def fuzz(times: int, seed: int, say: Callable[[str], None]) -> tuple[dict[str, Counter], list[Finding]]:
    """So many cases, shared out evenly over the kinds; how they ended, and those that must not end so."""
    counts, found = {}, []
    for kind in fuzz_kinds.KINDS:
        began, counts[kind] = time.monotonic(), Counter()
        for number, outcome in cases(kind, range(-(-times // len(fuzz_kinds.KINDS))), seed):
            word = outcome if outcome in ("accepted", "refused") else "found"
            counts[kind][word] += 1
            if word == "found":
                found.append(Finding(kind, number, outcome))
                say(f"{kind} {number}: {outcome[-1500:]}")
        say(f"{kind}: {dict(counts[kind])} in {time.monotonic() - began:.0f} s")
    return counts, found


if __name__ == "__main__":
    _serve(sys.argv[1], *map(int, sys.argv[2:5]))
