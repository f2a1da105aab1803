"""What a row of the table is, how it is measured, and how it is shown."""

import os
import platform
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

from rich.table import Table
from threadpoolctl import threadpool_limits

COLUMNS = ("what", "against", "times as fast", "at least", "ms", "x real time", "two cores", "from the limit")


@dataclass(frozen=True)
class Row:
    """Two ways to compute the same of ``audio_seconds`` of sound, and what cannot be done without ("limits").

    ``before`` is called ahead of each of them, and takes no part in the measurement. The clock is processor time, which
    others at work on the machine hardly change; where files are written it has to be that on the wall.
    """

    what: str
    against: str
    audio_seconds: float
    at_least: float
    ours: Callable[[], object]
    theirs: Callable[[], object]
    limits: dict[str, Callable[[], object]] = field(default_factory=dict)
    before: Callable[[], object] = lambda: None
    clock: Callable[[], float] = time.process_time


@dataclass(frozen=True)
class Result:
    """Median seconds of a row's functions, and how much more two processes get done than one."""

    row: Row
    ours: float
    theirs: float
    limits: dict[str, float]
    two_cores: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the other."""
        return self.theirs / self.ours

    def cells(self) -> tuple[str, ...]:
        """The row as text, one cell a column."""
        limits = (f"{self.ours / seconds:.1f} x {name}" for name, seconds in self.limits.items())
        return (
            self.row.what,
            self.row.against,
            f"{self.ratio:.1f}",
            f"{self.row.at_least:g}",
            f"{1e3 * self.ours:.2f}",
            f"{self.row.audio_seconds / self.ours:,.0f}",
            f"{self.two_cores:.1f} x",
            ", ".join(limits),
        )


def measure(make: Callable[[], Row], repeats: int) -> Result:
    """Medians of interleaved repeats, one thread; a busy machine slows all of them alike."""
    row = make()
    functions = {"ours": row.ours, "theirs": row.theirs, **row.limits}
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    with threadpool_limits(1):
        for repeat in range(-1, repeats):  # the first time compiles and fills caches: it does not count
            for name, function in functions.items():
                row.before()
                start = row.clock()
                function()
                if repeat >= 0:
                    seconds[name].append(row.clock() - start)
    medians = {name: median(times) for name, times in seconds.items()}
    limits = {name: medians[name] for name in row.limits}
    return Result(row, medians["ours"], medians["theirs"], limits, _two_cores(make))


def _two_cores(make: Callable[[], Row], seconds: float = 1.0) -> float:
    """Rounds that two processes manage together in a time, over those of one alone."""
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_rounds, [make] * 2, [0.0] * 2))  # start and warm up both
        alone = pool.submit(_rounds, make, seconds).result()
        return sum(pool.map(_rounds, [make] * 2, [seconds] * 2)) / alone


def _rounds(make: Callable[[], Row], seconds: float) -> int:
    row = make()
    with threadpool_limits(1):
        row.before()
        row.ours()
        end, rounds = time.perf_counter() + seconds, 0
        while time.perf_counter() < end:
            row.before()
            row.ours()
            rounds += 1
    return rounds


def machine() -> str:
    """One line on what the figures were measured with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "librosa"))
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}"


def table(results: Iterable[Result]) -> Table:
    """For a terminal; a row that misses its mark is red."""
    shown = Table(*COLUMNS, caption=machine())
    for result in results:
        shown.add_row(*result.cells(), style=None if result.ratio >= result.row.at_least else "red")
    return shown


def markdown(results: Iterable[Result]) -> str:
    """For a page."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(result.cells() for result in results)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{machine()}\n"
