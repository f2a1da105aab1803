"""Files appear whole or not at all; one writer a directory.

Every output is written by :func:`write_bytes`: under a temporary name in the same directory, synced, renamed.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from asctool.errors import EnvironmentFailure

TEMPORARY = ".asctool-tmp-"  # then host, process and a random part, so that a sweep knows whose it was
LOCK = ".lock"


def write_bytes(path: Path, data: bytes) -> str:
    """Write a file whole or not at all; its sha256. EnvironmentFailure when the disk or a permission refuses."""
    temporary = path.with_name(f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise environment_failure(error, path, len(data)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return sha256(data)


def sha256(data: bytes) -> str:
    """Hash of bytes, as manifests hold it."""
    return hashlib.sha256(data).hexdigest()


def sync_directory(directory: Path) -> None:
    """Make a rename in a directory durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def environment_failure(error: OSError, path: Path, needed: int = 0) -> EnvironmentFailure:
    """One line for an operating system error: the file, the reason, the remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(path.parent).free
        return EnvironmentFailure(
            f"{path}: no room for {needed / 1e6:.1f} MB ({free / 1e6:.1f} MB free); free some space and run it again"
        )
    return EnvironmentFailure(f"{path}: {error.strerror or error}")


def make_directory(path: Path) -> None:
    """Create an output directory, or say why not; a missing parent is an error, for it is more often a slip."""
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise EnvironmentFailure(f"{path}: its parent {path.parent} does not exist; mkdir -p it first") from error
    except OSError as error:
        raise environment_failure(error, path) from error


@contextlib.contextmanager
def writer_lock(directory: Path) -> Iterator[None]:
    """Hold the directory as its only writer; a second writer gets EnvironmentFailure that names the holder."""
    make_directory(directory)
    try:
        handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise environment_failure(error, directory / LOCK) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            raise EnvironmentFailure(f"{directory}: {holder} is writing it; wait for it or stop it") from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        sweep(directory)
        yield
    finally:
        os.close(handle)


def sweep(directory: Path) -> None:
    """Remove temporary files of processes of this host that are no more."""
    for path in directory.glob(f"{TEMPORARY}*"):
        host, _, rest = path.name.removeprefix(TEMPORARY).rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdigit() and not Path(f"/proc/{rest}").exists():
            path.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes; a regular file only."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
