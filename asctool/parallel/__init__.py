"""One function over many pieces of work: in this process, in several with one thread each, or on a Dask cluster."""

import contextlib
import functools
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from asctool.errors import EnvironmentFailure
from asctool.storage import parts
from asctool.storage.parts import Part
from asctool.storage.shards import Written
from asctool.storage.store import StoreWriter

PARENT_SECONDS = 1.0  # between a worker's looks at whether its parent is still there
Item = TypeVar("Item")
Result = TypeVar("Result")


class Progress(Protocol):
    """What the command line shows of work under way; stages tell it, and know nothing of terminals."""

    def start(self, what: str, total: float, unit: str) -> None:
        """A piece of work of ``total`` units begins."""

    def advance(self, amount: float) -> None:
        """``amount`` units more are done."""


class Silent:
    """No progress shown: the default of every stage."""

    def start(self, what: str, total: float, unit: str) -> None:
        """Nothing."""

    def advance(self, amount: float) -> None:
        """Nothing."""


@dataclass(frozen=True)
class How:
    """Where pieces of work are done, and which of them."""

    jobs: int | None = None  # processes of this machine; none: one a core
    scheduler: str | None = None  # address of a Dask scheduler, whose workers do it in their place
    part: Part | None = None  # of an array job; none: all pieces
    threads: int | None = 1  # of each process here; none: what it takes for itself
    progress: Progress = field(default_factory=Silent)


def n_processes(jobs: int | None) -> int:
    """Processes for ``--jobs``: the number given, or one for each core this process may use."""
    return jobs if jobs else len(os.sched_getaffinity(0))


def run(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    how: How,
    files: Sequence[Path] = (),
    name: Callable[[Item], str] = str,
) -> Generator[tuple[Item, Result], None, None]:
    """Each item with its result, as they come; the order is that of completion. ``function`` must be picklable.

    An exception of the function ends the work and is raised here; a process that is killed is an EnvironmentFailure.
    On a cluster, whose workers must see ``files`` as this machine does, the item is done again elsewhere; one that
    ends every worker is an EnvironmentFailure with its ``name``.
    """
    if how.scheduler and items:
        from asctool.parallel import cluster

        yield from cluster.run(function, items, how.scheduler, files, name)
        return
    processes = min(n_processes(how.jobs), len(items))
    if processes <= 1:
        yield from _run_here(function, items, how.threads)
        return
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool = joblib.Parallel(n_jobs=processes, return_as="generator_unordered", pre_dispatch="2*n_jobs")
        try:
            with _deaf_to_ctrl_c():
                results = pool(joblib.delayed(_with_item)(function, item) for item in items)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # joblib's remark on work that is given up, as it was asked to
                yield from results
        except TerminatedWorkerError as error:
            raise EnvironmentFailure(
                "a worker process was killed, perhaps for want of memory; try fewer --jobs, or free some memory"
            ) from error


def make_shards(
    work: Callable[[int], Written],
    writer: StoreWriter,
    plan: Sequence[tuple[int, int]],
    what: str,
    how: How,
    files: Sequence[Path],
) -> None:
    """Make what is missing of a store, or of a part; ``work`` writes the shard of a number, ``plan`` has its clips."""
    todo = writer.shards.missing(parts.share(len(plan), how.part))
    how.progress.start(what, sum(plan[i][1] - plan[i][0] for i in todo), "clips")

    def name(index: int) -> str:
        return f"shard {index + 1} of {len(plan)} (clips {plan[index][0] + 1} to {plan[index][1]})"

    with contextlib.closing(run(work, todo, how, files, name)) as made:
        for index, written in made:
            writer.add(index, written)
            how.progress.advance(plan[index][1] - plan[index][0])


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started within ignore SIGINT: a terminal sends it to all, and it is this process that answers."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _run_here(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None
) -> Iterator[tuple[Item, Result]]:
    import threadpoolctl

    with threadpoolctl.threadpool_limits(threads):
        for item in items:
            yield item, function(item)


def _with_item(function: Callable[[Any], Any], item: Any) -> tuple[Any, Any]:
    _end_with_parent()
    return item, function(item)


@functools.cache
def _end_with_parent() -> None:
    """End this worker soon after the process that started it, which may be killed without a chance to see to it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
