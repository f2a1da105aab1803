"""One function over many pieces of work: in this process, or in several with one thread each; progress."""

import contextlib
import functools
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from asctool.errors import EnvironmentFailure

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


def n_processes(jobs: int | None) -> int:
    """Processes for ``--jobs``: the number given, or one for each core this process may use."""
    return jobs if jobs else len(os.sched_getaffinity(0))


def run(function: Callable[[Item], Result], items: Sequence[Item], jobs: int | None) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, as they come; the order is that of completion. ``function`` must be picklable.

    An exception of the function ends the work and is raised here; a process that is killed is an EnvironmentFailure.
    """
    processes = min(n_processes(jobs), len(items))
    if processes <= 1:
        yield from _run_here(function, items)
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


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started within ignore SIGINT: a terminal sends it to all, and it is this process that answers."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _run_here(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1):
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
