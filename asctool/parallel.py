"""One function over many pieces of work: in this process, or in several with one thread each; progress."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

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

    An exception of the function ends the work and is raised here.
    """
    processes = min(n_processes(jobs), len(items))
    if processes <= 1:
        yield from _run_here(function, items)
        return
    import joblib

    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        pool = joblib.Parallel(n_jobs=processes, return_as="generator_unordered", pre_dispatch="2*n_jobs")
        yield from pool(joblib.delayed(_with_item)(function, item) for item in items)


def _run_here(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1):
        for item in items:
            yield item, function(item)


def _with_item(function: Callable[[Any], Any], item: Any) -> tuple[Any, Any]:
    return item, function(item)
