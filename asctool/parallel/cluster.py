"""The workers of a Dask scheduler: a task is a whole shard, so that little travels and a lost worker costs one shard.

The client of dask.distributed, not joblib's backend for it: see docs/decisions/0011.
"""

import contextlib
import copy
import functools
import importlib
import logging
import queue
import re
import secrets
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from asctool.errors import EnvironmentFailure, UsageError
from asctool.storage import reach

CONNECT_SECONDS = 10.0
WORKER_SECONDS = 60.0  # without any worker: new ones may be waiting for their turn in a batch system
LOOK_SECONDS = 1.0  # between looks at whether there still are workers
RESULT_SECONDS = 10.0  # for a result of some kB to come from the worker that has it
CLOSE_SECONDS = 2.0
MISSING = "--scheduler needs more packages: pip install 'asctool[dask]'"
COMPUTING = ("numpy", "scipy", "numba", "soundfile", "soxr", "h5py", "torch")  # may change the last bits of a result
LOGGERS = ("distributed", "distributed.client", "tornado", "tornado.application")
Item = TypeVar("Item")
Result = TypeVar("Result")
log = logging.getLogger("asctool")
_one_at_a_time = threading.Lock()  # task of a worker that has several threads: each takes one thread of a process


def check_address(address: str) -> str:
    """The address of a scheduler; UsageError for what cannot be one."""
    if not re.fullmatch(r"(tcp|tls)://[^\s/]+:[0-9]{1,5}", address):
        raise UsageError(
            f"--scheduler {address}: give its address as 'dask scheduler' tells it, such as tcp://host:8786"
        )
    return address


def run(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    address: str,
    files: Sequence[Path],
    name: Callable[[Item], str],
) -> Iterator[tuple[Item, Result]]:
    """As :func:`asctool.parallel.run`. The scheduler does a task again whose worker is lost, as often as it is set to.

    EnvironmentFailure: no scheduler, no workers, other code or files there, a task that ended every worker.
    """
    work = _Work(reach.code(), reach.hashes(files), function)
    with _connected(address) as client:
        _check_versions(client, address)
        # It goes to each worker once, by a task of its own: what is merely put on a worker dies with it.
        shared = client.submit(_given, work, key=f"asctool-{secrets.token_hex(8)}", pure=False)
        keys = [f"asctool-piece-{secrets.token_hex(8)}-{number}" for number in range(len(items))]
        futures = client.map(_task, list(items), key=keys, work=shared, pure=False, retries=0)
        tasks = _Tasks(client, address, {key: name(item) for key, item in zip(keys, items)}, queue.SimpleQueue())
        for future in futures:
            future.add_done_callback(tasks.done.put)
        del futures, future  # a result is let go once it was seen
        item_of = dict(zip(keys, items))
        while item_of:
            key, result = tasks.next(item_of)
            yield item_of.pop(key), result


@dataclass(frozen=True, eq=False)
class _Work:
    """What workers are to do, and what they must have in common with this machine to do it."""

    code: str
    files: Mapping[str, str]
    function: Callable[[Any], Any]


def _given(work: _Work) -> _Work:
    return work


def _task(item: Any, work: _Work) -> Any:
    """On a worker: one piece of work. What was begun when the client went is done to its end, and harms nobody."""
    import threadpoolctl

    with _one_at_a_time, threadpoolctl.threadpool_limits(1):
        return _function(work)(item)


@functools.lru_cache(maxsize=1)
def _function(work: _Work) -> Callable[[Any], Any]:
    """A copy of the function for this process, which may keep in it what it has read; others are given it as it was."""
    lacking = reach.lacking(work.code, work.files)
    if lacking:
        raise EnvironmentFailure(f"a Dask worker cannot work on this: {lacking}")
    return copy.copy(work.function)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """A client, which takes its tasks with it when it goes."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        raise EnvironmentFailure(MISSING) from error
    with _quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions are looked at here
        try:
            client = _client(distributed, address)
        except (OSError, RuntimeError, ValueError) as error:
            raise EnvironmentFailure(
                f"no Dask scheduler answers at {address} within {CONNECT_SECONDS:.0f} s; start one with "
                "'dask scheduler', or give the address that it tells"
            ) from error
        try:
            yield client
        except (distributed.CancelledError, distributed.comm.CommClosedError) as error:
            raise _gone(address) from error
        finally:
            client.close(timeout=CLOSE_SECONDS)


def _client(distributed: Any, address: str) -> Any:
    """A client of a scheduler; in a thread, for what listens there and never answers holds up Dask without an end."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def connect() -> None:
        try:
            answers.put(distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False, name="asctool"))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=1.5 * CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what Dask writes to the terminal on workers lost and connections closed: all of it is told here."""
    levels = [(logger, logger.level) for logger in map(logging.getLogger, LOGGERS)]
    for logger, _ in levels:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in levels:
            logger.setLevel(level)


def _check_versions(client: Any, address: str) -> None:
    """EnvironmentFailure unless scheduler and workers have this asctool and Python; a warning on what computes."""
    _wait_for_workers(client, address)
    found = _ask(lambda: client.get_versions(packages=["asctool", *COMPUTING]), address)
    own = found["client"]["packages"]
    others = {f"the scheduler {address}": found["scheduler"]["packages"]}
    others |= {f"the worker {worker}": entry["packages"] for worker, entry in found["workers"].items()}
    for place, there in others.items():
        for name, digits in (("asctool", None), ("python", 2)):
            mine, its = (_short(packages[name], digits) for packages in (own, there))
            if mine != its:
                raise EnvironmentFailure(
                    f"{place} has {name} {its}, where {mine} runs here; install the same one everywhere"
                )
    unlike = sorted({n for there in list(others.values())[1:] for n in COMPUTING if there[n] != own[n]})
    if unlike:
        log.warning("workers have other versions of %s than this machine: last bits may differ", ", ".join(unlike))


def _short(version: str | None, digits: int | None) -> str:
    return ".".join(version.split(".")[:digits]) if version else "not installed"


def _wait_for_workers(client: Any, address: str) -> None:
    deadline = time.monotonic() + WORKER_SECONDS
    told = False
    while not _ask(client.nthreads, address):
        if time.monotonic() > deadline:
            raise _deserted(address)
        if not told:
            log.info("%s has no workers yet; waiting for the first", address)
            told = True
        time.sleep(min(LOOK_SECONDS, WORKER_SECONDS / 4))


def _deserted(address: str, name: str = "") -> EnvironmentFailure:
    last = f"; {name} was being done when they went" if name else ""
    return EnvironmentFailure(
        f"the Dask scheduler at {address} has had no workers for {WORKER_SECONDS:.0f} s{last}; start some with "
        "'dask worker ADDRESS --nthreads 1', see their logs, and run this again to go on"
    )


@dataclass(frozen=True)
class _Tasks:
    """Tasks of a scheduler that are waited for."""

    client: Any
    address: str
    names: Mapping[str, str]  # of the keys of tasks
    done: "queue.SimpleQueue[Any]"  # futures, as they come

    def next(self, waiting: Collection[str]) -> tuple[str, Any]:
        """A task that is done, with its result; its error is raised, and so is the want of workers."""
        last_seen = time.monotonic()
        while True:
            with contextlib.suppress(queue.Empty):
                future = self.done.get(timeout=LOOK_SECONDS)
                try:
                    return future.key, self._result(future)
                except TimeoutError:
                    if future.status == "error":
                        raise
                    self.done.put(future)  # the worker that had it was lost meanwhile; it is done again
            if _ask(self.client.nthreads, self.address):
                last_seen = time.monotonic()
            elif time.monotonic() - last_seen > WORKER_SECONDS:
                suspects = _ask(lambda: self.client.run_on_scheduler(_suspects), self.address)
                raise _deserted(self.address, " and ".join(self.names[key] for key in suspects if key in waiting))

    def _result(self, future: Any) -> Any:
        from distributed.scheduler import KilledWorker

        try:
            return future.result(timeout=RESULT_SECONDS)
        except KilledWorker as error:
            raise EnvironmentFailure(
                f"{self.names.get(future.key, 'a task')} ended every Dask worker that took it, "
                f"{error.allowed_failures + 1} of them, the last {error.last_worker.address}: perhaps for want of "
                "memory; see its log, give workers more memory, and run this again"
            ) from error


def _ask(question: Callable[[], Any], address: str) -> Any:
    """What the scheduler answers; EnvironmentFailure where it no longer does."""
    try:
        return question()
    except OSError as error:  # of connections: none of ours passes here
        raise _gone(address) from error


def _gone(address: str) -> EnvironmentFailure:
    return EnvironmentFailure(f"the Dask scheduler at {address} is gone; run this again to go on")


def _suspects(dask_scheduler: Any) -> list[str]:
    """On the scheduler: the tasks that were under way when most workers were lost."""
    counts = {str(key): task.suspicious for key, task in dask_scheduler.tasks.items() if task.suspicious}
    return [key for key, count in counts.items() if count == max(counts.values())]
