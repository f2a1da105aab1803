"""One writer a directory, or the parts of an array job together; a reader keeps what it reads."""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from asctool.errors import EnvironmentFailure
from asctool.storage import atomic

LOCK = ".lock"
TURN = ".lock-parts"  # held by one part of an array job at a time
READER_SECONDS = 2.0  # a reader waits this long for a writer that clears up, which takes milliseconds


@contextlib.contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the directory as its only writer; a second writer gets EnvironmentFailure that names the holder."""
    atomic.make_directory(directory)
    with _locked(directory, LOCK, fcntl.LOCK_EX) as handle:
        _sign(handle, directory / LOCK)
        yield


@contextlib.contextmanager
def part_lock(directory: Path, number: int, total: int) -> Iterator[None]:
    """Hold the directory with other parts of an array job; EnvironmentFailure names who writes all of it, or this part.

    The file of a part goes when it ends: whoever has opened it by then was refused already.
    """
    atomic.make_directory(directory)
    own, name = part_lock_name(number, total), f"part {number}/{total}, "
    with _locked(directory, LOCK, fcntl.LOCK_SH) as shared, _locked(directory, own, fcntl.LOCK_EX) as handle:
        _sign(handle, directory / own, name)
        with turn(directory):
            _sign(shared, directory / LOCK, name)
        try:
            yield
        finally:
            (directory / own).unlink(missing_ok=True)


def part_lock_name(number: int, total: int) -> str:
    """The file in which a part says who makes it."""
    return f"{LOCK}-part-{number}-of-{total}"


@contextlib.contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Hold the directory alone among its parts, for what one of them may do at a time; the others wait."""
    with _locked(directory, TURN, fcntl.LOCK_EX, waits=True):
        yield


@contextlib.contextmanager
def _locked(directory: Path, name: str, operation: int, waits: bool = False) -> Iterator[int]:
    try:
        handle = os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise atomic.environment_failure(error, directory / name) from error
    try:
        _lock(handle, directory, operation if waits else operation | fcntl.LOCK_NB)
        yield handle
    finally:
        os.close(handle)


def _sign(handle: int, path: Path, part: str = "") -> None:
    """Write into a lock's file who holds it."""
    name = f"{part}process {os.getpid()} on {socket.gethostname()}".encode()
    try:
        os.ftruncate(handle, os.pwrite(handle, name, 0))
    except OSError as error:
        raise atomic.environment_failure(error, path, len(name)) from error


def _lock(handle: int, directory: Path, operation: int) -> None:
    try:
        fcntl.flock(handle, operation)
    except BlockingIOError as error:
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"
        raise EnvironmentFailure(f"{directory}: {holder} is writing it; wait for it or stop it") from error
    except OSError as error:
        raise EnvironmentFailure(
            f"{directory}: this file system knows no locks ({error.strerror}); write to another one"
        ) from error


def check_writable(directory: Path, beside_parts: bool = False) -> None:
    """Raise what :func:`writer_lock` (:func:`part_lock`) would raise if it were taken now, without leaving a trace."""
    place = directory if directory.is_dir() else directory.resolve().parent
    if not directory.is_dir() and os.path.lexists(directory):
        raise atomic.in_the_way(directory)
    if not place.is_dir():
        raise atomic.no_parent(directory)
    if not os.access(place, os.W_OK | os.X_OK):
        raise EnvironmentFailure(
            f"{directory}: {os.strerror(errno.EACCES)}; change the permissions of {place}, or write elsewhere"
        )
    if (directory / LOCK).is_file():
        handle = os.open(directory / LOCK, os.O_RDONLY)
        try:
            _lock(handle, directory, (fcntl.LOCK_SH if beside_parts else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        finally:
            os.close(handle)


def hold(directory: Path, reader: object) -> None:
    """Tell writers that a directory is read as long as ``reader`` lives: they leave it the files they replace.

    A lock on the directory itself, which asks no permission to write. Where it cannot be had, the reader goes without:
    it is then told when it meets a file that was replaced.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # reading will say what is wrong
    if handle > resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
        os.close(handle)  # few files may be open: leave them to those who cannot do without
        return
    weakref.finalize(reader, os.close, handle)
    deadline = time.monotonic() + READER_SECONDS
    while not _flock(handle, fcntl.LOCK_SH) and time.monotonic() < deadline:
        time.sleep(0.01)


@contextlib.contextmanager
def without_readers(directory: Path) -> Iterator[bool]:
    """Whether nobody reads a directory, and keep it so; True where the file system has no such locks (NFS)."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        yield _flock(handle, fcntl.LOCK_EX)
    finally:
        os.close(handle)


def _flock(handle: int, operation: int) -> bool:
    try:
        fcntl.flock(handle, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
