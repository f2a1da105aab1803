"""Compiling what numba keeps on the disk, one process at a time.

Numba numbers the files of a function's variants from an index that it reads, changes and writes without a lock. Two
processes that compile two variants at the same moment give both the same number, and the index of one then leads to
the other's machine code: wrong spectra, or a crash.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCK = "asctool.lock"


def compile_alone(function: Any, signature: tuple) -> None:
    """Compile what ``numba.njit(cache=True)`` made for these types and no others, or load it from the cache."""
    with _alone(Path(function.stats.cache_path)):
        function.compile(signature)
    function.disable_compile()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder's lock; where there is none to be had (a read-only folder, NFS at times), go without."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
