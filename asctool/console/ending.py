"""How a command ends: an exit code, and for what was to be expected one line on standard error."""

import contextlib
import errno
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from asctool import console
from asctool.errors import AsctoolError

STOPPED_BY: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 143}
STOPPED = "stopped; run it again to go on"
STOP_SECONDS = 7.0  # for clearing up after a signal
REFUSALS = {
    errno.ENOSPC: "free some space and run it again",
    errno.EDQUOT: "free some space and run it again",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENOMEM: "try fewer --jobs or smaller batches",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EROFS: "write elsewhere",
    errno.EACCES: "change its permissions, or write elsewhere",
    errno.EPERM: "change its permissions, or write elsewhere",
    errno.EIO: "the disk fails to read or write",
    errno.ESTALE: "the network file system lost it; run it again",
    errno.EAGAIN: "no more processes are allowed (ulimit -u)",
}  # errors of the system that no code of ours can help, with what can
# Torch, oneDNN and threading say so by a RuntimeError.
NO_REASON = ("without exception set", "without setting an exception")  # Python says so of C that returned nothing
NO_MEMORY = ("allocate memory", "out of memory", "could not create a primitive", "can't start new thread")


class Stopped(BaseException):
    """SIGTERM: unwinds like Ctrl-C, so that temporary files go and locks are let loose."""


def guarded(command: Callable[[], Any], name: str, debug: bool) -> int:
    """Run a command; the exit code of what became of it, one line on standard error for an expected failure."""
    with _signals(name):
        return _outcome(command, name, debug)


def _outcome(command: Callable[[], Any], name: str, debug: bool) -> int:
    try:
        command()
    except AsctoolError as error:
        return _told(name, str(error), error.exit_code, debug)
    except MemoryError:
        return _told(name, "not enough memory; try fewer --jobs or smaller batches", 4, debug)
    except (KeyboardInterrupt, Stopped) as error:
        number = signal.SIGTERM if isinstance(error, Stopped) else signal.SIGINT
        return _told(name, STOPPED, STOPPED_BY[number], debug=False)
    except BrokenPipeError:
        return 0
    except (OSError, RuntimeError, SystemError) as error:
        reason = _environment(error)
        if reason is None:
            raise
        return _told(name, reason, 4, debug)
    return 0


def _told(name: str, message: str, code: int, debug: bool) -> int:
    told = _told_by_another(code)
    if told is not None:
        return told
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"asctool {name}: {message}\n")
    return code


def _told_by_another(code: int) -> int | None:
    """The exit code of the process that ended a training of several first, and said why; None where that is this."""
    if not console.of_several():
        return None
    from asctool.training import distributed

    return distributed.claim(code)


def _environment(error: OSError | RuntimeError | SystemError) -> str | None:
    """What the system refused, where an error of a library is no more than that; None where it is a bug."""
    if isinstance(error, OSError):
        if error.errno not in REFUSALS:
            return None
        return f"{error.filename or 'the system'}: {error.strerror}; {REFUSALS[error.errno]}"
    if any(words in str(error) for words in NO_MEMORY):
        return "not enough memory; try fewer --jobs or smaller batches"
    if any(words in str(error) for words in NO_REASON):
        return "a library failed and did not say of what, most often for want of memory (--debug shows where)"
    return None


@contextlib.contextmanager
def _signals(name: str) -> Iterator[None]:
    """SIGINT and SIGTERM unwind the command, once; what has not unwound within STOP_SECONDS is ended.

    Python hears a signal only between two of its own instructions, which a long computation in C can keep it from. So
    the signal's number also goes through a pipe to a thread that waits for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may listen; whoever called from another one sees to signals
        return
    previous = {number: signal.signal(number, _stop) for number in STOPPED_BY}
    try:
        with _watch(name):
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _watch(name: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, RuntimeError):  # where not even a pipe or a thread can be had, do without
            reader, writer = os.pipe()
            stack.callback(os.close, writer)
            os.set_blocking(writer, False)
            stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writer, warn_on_full_buffer=False))
            threading.Thread(target=_end_what_does_not_stop, args=(reader, name), daemon=True).start()
        yield


def _stop(signum: int, frame: FrameType | None) -> None:
    for number in STOPPED_BY:
        signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not stop the clearing up
    raise KeyboardInterrupt if signum == signal.SIGINT else Stopped


def _end_what_does_not_stop(reader: int, name: str) -> None:
    """Wait for a signal, then for the command to end; where it does not, end this process and its children."""
    number = 0
    deadline: float | None = None
    while select.select([reader], [], [], deadline and max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(reader, 1)
        if not data:  # the command has ended
            os.close(reader)
            return
        if data[0] in STOPPED_BY and deadline is None:
            number, deadline = data[0], time.monotonic() + STOP_SECONDS
    code = _told(name, STOPPED, STOPPED_BY[number], debug=False)
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    os._exit(code)
