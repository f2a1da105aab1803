"""What a row of the table is, how it is measured, and how it is shown."""

import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import median

from rich.table import Table
from threadpoolctl import threadpool_limits

COLUMNS = ("what", "against", "measured", "the mark", "rate", "more")


@dataclass(frozen=True)
class Line:
    """A line of the table: what was measured against which peer or limit, and the mark that was set beforehand."""

    what: str
    against: str
    measured: str
    mark: str
    rate: str = ""
    more: str = ""
    holds: bool = True  # whether the mark is met

    def cells(self) -> tuple[str, ...]:
        """One text a column."""
        return self.what, self.against, self.measured, self.mark, self.rate, self.more


def times(ours: float, theirs: float, at_least: float) -> dict[str, object]:
    """How many times as fast, with its mark, for a :class:`Line`; seconds."""
    ratio = theirs / ours
    return {"measured": f"{ratio:.2f} x", "mark": f"{at_least:g} x", "holds": ratio >= at_least}


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

    def line(self) -> Line:
        """The row as a line of the table."""
        limits = (f"{self.ours / seconds:.1f} x {name}" for name, seconds in self.limits.items())
        return Line(
            self.row.what,
            self.row.against,
            f"{self.ratio:.1f} x",
            f"{self.row.at_least:g} x",
            f"{self.row.audio_seconds / self.ours:,.0f} x real time",
            ", ".join((f"{1e3 * self.ours:.2f} ms", f"two cores {self.two_cores:.1f} x", *limits)),
            self.ratio >= self.row.at_least,
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


def interleaved(
    functions: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Median seconds of each function, called in turn; the first round, which allocates and chooses, does not count."""
    seconds: list[list[float]] = [[] for _ in functions]
    for repeat in range(-1, repeats):
        for function, taken in zip(functions, seconds):
            start = clock()
            function()
            if repeat >= 0:
                taken.append(clock() - start)
    return [median(taken) for taken in seconds]


def machine() -> str:
    """One line on what the figures were measured with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "numba", "librosa", "torch"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{platform.machine()}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}, {libraries}"


def table(lines: Iterable[Line]) -> Table:
    """For a terminal; a line that misses its mark is red."""
    shown = Table(*COLUMNS, title=machine(), title_justify="left")
    for line in lines:
        shown.add_row(*line.cells(), style=None if line.holds else "red")
    return shown


def markdown(lines: Iterable[Line]) -> str:
    """For a page."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(line.cells() for line in lines)]
    return machine() + "\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
