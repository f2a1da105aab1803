"""Files appear whole or not at all.

Every output is written by :func:`write_bytes` or :func:`write_together`: under a temporary name in the same directory,
synced, renamed.
"""

import contextlib
import errno
import hashlib
import logging
import os
import resource
import secrets
import shutil
import signal
import socket
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import xxhash

from asctool.errors import EnvironmentFailure, IntegrityError

TEMPORARY = ".asctool-tmp-"  # then host, process and a random part, so that a sweep knows whose it was
BLOCK_BYTES = 1 << 18  # read at once, and hashed while they are in the cache
SYNCS = 8  # files that are synced at once
FOREIGN_SECONDS = 86400.0  # a temporary file of another host is taken for abandoned after a day
FAULT = "ASCTOOL_FAULT"
log = logging.getLogger("asctool")
_passed: Counter[str] = Counter()


def write_bytes(path: Path, data: bytes, kind: str = "file", sync_name: bool = True) -> None:
    """Write a file whole or not at all. EnvironmentFailure when the disk or a permission refuses.

    ``kind`` names the points at which a test can stop it: before, half, written (under its temporary name), after.
    Without ``sync_name`` the caller sees to :func:`sync_directory`: until then a loss of power may take the file away.
    """
    with _temporary({path: (data, kind)}) as temporaries:
        _put_in_place(temporaries, [path], kind)
        if sync_name:
            sync_directory(path.parent)
    fault(f"after-{kind}")


def write_together(files: Mapping[Path, bytes], last: Path, data: bytes, kind: str) -> None:
    """Write files of one directory, and ``last`` that tells of them: it appears when they will stay, each whole.

    All are synced side by side, for the file system then does them in one go; ``kind`` is that of ``last``.
    """
    with _temporary(
        {**{path: (content, "file") for path, content in files.items()}, last: (data, kind)}
    ) as temporaries:
        _put_in_place(temporaries, files, "file")
        sync_directory(last.parent)
        for _ in files:
            fault("after-file")
        _put_in_place(temporaries, [last], kind)
        sync_directory(last.parent)
    fault(f"after-{kind}")


@contextlib.contextmanager
def _temporary(files: Mapping[Path, tuple[bytes, str]]) -> Iterator[dict[Path, Path]]:
    """Contents of a kind under temporary names, synced; what has not got its name by the end is removed."""
    owner = f"{TEMPORARY}{socket.gethostname()}-{os.getpid()}"
    temporaries = {path: path.with_name(f"{owner}-{secrets.token_hex(4)}") for path in files}
    path, data = next(iter(files)), b""
    try:
        with contextlib.ExitStack() as left_over:
            for temporary in temporaries.values():
                left_over.callback(_remove, temporary)
            for path, (data, kind) in files.items():
                _fill(temporaries[path], data, kind)
            _sync(list(temporaries.values()))
            yield temporaries
    except OSError as error:
        raise environment_failure(error, path, len(data)) from error


def _remove(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _fill(temporary: Path, data: bytes, kind: str) -> None:
    view = memoryview(data)
    fault(f"before-{kind}")
    with temporary.open("xb") as file:
        file.write(view[: len(view) // 2])
        file.flush()
        fault(f"half-{kind}")
        file.write(view[len(view) // 2 :])


def _sync(paths: Sequence[Path]) -> None:
    """Wait until the contents of files are on the disk; several at once take hardly longer than one."""
    if len(paths) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with contextlib.suppress(RuntimeError), ThreadPoolExecutor(min(len(paths), SYNCS)) as pool:
            list(pool.map(sync, paths))
            return
    for path in paths:  # one, or no threads to be had
        sync(path)


def _put_in_place(temporaries: Mapping[Path, Path], paths: Iterable[Path], kind: str) -> None:
    for path in paths:
        fault(f"written-{kind}")
        temporaries[path].replace(path)


def fault(point: str) -> None:
    """A point at which tests stop the process: ``ASCTOOL_FAULT=point:number`` kills it the number-th time it passes.

    ``point:number:full`` raises what a full disk does, ``:memory`` what memory that cannot be had does, ``:wait`` waits
    a minute. Off by default.
    """
    name, _, rest = os.environ.get(FAULT, "").partition(":")
    if name != point:
        return
    number, _, action = rest.partition(":")
    _passed[point] += 1
    if _passed[point] != int(number or 1):
        return
    if action == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if action == "memory":
        raise MemoryError
    if action == "wait":
        log.warning("waiting at %s", point)
        time.sleep(60)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def sha256(data: bytes) -> str:
    """Hash of bytes, as manifests hold it."""
    return hashlib.sha256(data).hexdigest()


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    sync(directory)


def sync(path: Path) -> None:
    """Wait until a file or a directory is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file; FileNotFoundError where there is none.

    Anything but a regular file is an IntegrityError (a FIFO would wait for ever), a refusal of the system an
    EnvironmentFailure.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise environment_failure(error, path) from error
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise IntegrityError(f"{path}: is no regular file; make it again with --force")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    except OSError as error:
        raise environment_failure(error, path) from error
    finally:
        os.close(handle)


def environment_failure(error: OSError, path: Path, needed: int = 0) -> EnvironmentFailure:
    """One line for an operating system error: the file, the reason, the remedy."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        return EnvironmentFailure(
            f"{path}: no room: {_size(needed)} needed, {_size(free)} free; free some space and run it again"
        )
    if error.errno == errno.EFBIG:
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        return EnvironmentFailure(
            f"{path}: {_size(needed)} needed, {_size(limit)} free within this process' limit (ulimit -f); raise it"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return EnvironmentFailure(f"{path}: too many open files; {limit} are allowed (ulimit -n): raise that")
    return EnvironmentFailure(f"{path}: {error.strerror or error}")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e5 else f"{n_bytes} bytes"


def make_directory(path: Path) -> None:
    """Create an output directory, or say why not; a missing parent is an error, for it is more often a slip."""
    try:
        path.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise no_parent(path) from error
    except FileExistsError as error:
        raise in_the_way(path) from error
    except OSError as error:
        raise environment_failure(error, path) from error
    sweep(path)


def no_parent(path: Path) -> EnvironmentFailure:
    """What to raise for a path whose directory is not there."""
    return EnvironmentFailure(f"{path}: its parent {path.parent} does not exist; mkdir -p it first")


def in_the_way(path: Path) -> EnvironmentFailure:
    """What to raise for a directory in whose place a file lies."""
    return EnvironmentFailure(f"{path}: is a file, where a directory is to be written; give another name")


def sweep(directory: Path) -> None:
    """Remove temporary files whose writer is no more: a dead process of this host, or any of another after a day."""
    for path in directory.glob(f"{TEMPORARY}*"):
        host, _, process = path.name.removeprefix(TEMPORARY).rpartition("-")[0].rpartition("-")
        with contextlib.suppress(OSError):
            if host == socket.gethostname() and process.isdigit():
                abandoned = not _lives(process)
            else:
                abandoned = time.time() - path.stat().st_mtime > FOREIGN_SECONDS
            if abandoned:
                path.unlink(missing_ok=True)


def _lives(process: str) -> bool:
    """Whether a process of this host runs; a dead one that nobody has asked after yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def sha256_file(path: Path) -> str:
    """Hash of a file's bytes; a regular file only."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def quick_hash(path: Path) -> str:
    """xxh3_128 of a file's bytes: at the speed of memory, for changes that nobody wants to hide."""
    digest, block = xxhash.xxh3_128(), bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as file:
        while n_bytes := file.readinto(block):
            digest.update(memoryview(block)[:n_bytes])
    return digest.hexdigest()
