"""Functions that numba compiles: the same bits whoever compiled them, kept on the disk, one process at a time.

What a compiled function calls is inlined into it, by ``inlined``. Otherwise numba compiles it twice, alone and as part
of its caller, which round differently, and which of the two runs depends on whether the caller came out of the cache.

Numba numbers the files of a function's variants from an index that it reads, changes and writes without a lock. Two
processes that compile two variants at the same moment give both the same number, and the index of one then leads to
the other's machine code: wrong spectra, or a crash.
"""

import contextlib
import fcntl
import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numba
from numba import types

LOCK = "asctool.lock"
FLAGS: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp", "reassoc"}, "error_model": "numpy"}
INLINED: dict[str, Any] = FLAGS | {"forceinline": True}
Function = Callable[..., None]
VALUES = types.Array(types.float32, 1, "C", readonly=True)  # float32, (n,), that are only read
TABLE = types.Array(types.float32, 2, "C", readonly=True)
TO_FILL = types.Array(types.float32, 2, "C")  # (n, m)
_one_thread = threading.Lock()
inlined = numba.njit(**INLINED)  # for what is called by compiled functions alone


def kept(*signature: Any) -> Callable[[Function], Function]:
    """A decorator: compile a function for these types and no others when it is first called, or load it."""

    def decorate(function: Function) -> Function:
        compiled: Any = numba.njit(cache=True, **FLAGS)(function)

        @functools.wraps(function)
        def call(*arguments: Any) -> None:
            if not compiled.overloads:
                compile_alone(compiled, signature)
            compiled(*arguments)

        return call

    return decorate


def compile_alone(compiled: Any, signature: tuple) -> None:
    """Compile what ``numba.njit(cache=True)`` made, for these types alone, or load it, while nobody else does."""
    with _one_thread, _alone(Path(compiled.stats.cache_path)), _undisturbed():
        if not compiled.overloads:
            compiled.compile(signature)
            compiled.disable_compile()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; where there is none to be had (a read-only folder, NFS at times), go without."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait: what their handlers raise inside LLVM's callbacks is printed there, and lost."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        waiting.append(number)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, wait)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])
