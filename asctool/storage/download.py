"""Archives from the network: what a broken connection left is gone on with, nothing is used whose md5 is not right.

urllib, for the libraries begin anew: pooch 1.9 opens its file for writing and never asks for a range.
"""

import hashlib
import http.client
import logging
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from asctool.errors import DataError, EnvironmentFailure, UsageError
from asctool.storage import atomic, locks
from asctool.storage.unpack import unpack

log = logging.getLogger("asctool")

FOLDER = ".asctool-download"  # in the corpus: archives under way, and notes of those that were unpacked
BLOCK_BYTES = 1 << 20
MAX_BYTES = 64 << 30  # of an archive whose size is not known
TIMEOUT_SECONDS = 60.0  # without a byte
WAITS_SECONDS = (1.0, 4.0, 16.0, 60.0)  # between attempts that brought nothing; after the last one it gives up
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses that another attempt may not meet


@dataclass(frozen=True)
class Archive:
    """A file of a corpus as it was published."""

    url: str
    md5: str
    n_bytes: int | None = None  # None: as the server says
    remade: bool = False  # packed anew by its server now and then: another md5 is warned of, not refused

    @property
    def name(self) -> str:
        """The file's name, the last part of its address."""
        return Path(urllib.parse.urlsplit(self.url).path).name


class Progress(Protocol):
    """Who is told of the bytes that came."""

    def start(self, what: str, total: float, unit: str) -> None:
        """A download of ``total`` units begins."""

    def advance(self, amount: float) -> None:
        """``amount`` units more are there."""


def fetch_all(
    archives: Sequence[Archive], target: Path, progress: Progress, waits: Sequence[float] = WAITS_SECONDS
) -> int:
    """Download, check and unpack archives into a directory, which is made; how many were not there already.

    An archive is removed once it is unpacked; a note stays. UsageError where the directory holds files of other origin,
    DataError where an md5 is not the published one or an archive is refused, EnvironmentFailure where the network, the
    disk or another download is in the way.
    """
    _refuse_foreign(target)
    atomic.make_directory(target)
    folder = target / FOLDER
    done = 0
    with locks.writer_lock(folder):
        for number, archive in enumerate(archives, 1):
            note = _note(archive, folder)
            if _is_unpacked(archive, folder):
                log.info("%s: was unpacked before (to fetch it again, remove %s)", archive.name, note)
                continue
            log.info("archive %d of %d: %s", number, len(archives), archive.url)
            path = fetch(archive, folder, progress, waits)
            n_files = _unpack(archive, path, target)
            atomic.write_bytes(note, f"{archive.md5}\n".encode())
            path.unlink()
            log.info("%s: %d files unpacked", archive.name, n_files)
            done += 1
    return done


def missing(archives: Sequence[Archive], target: Path) -> list[Archive]:
    """The archives that are not unpacked in a directory yet."""
    return [archive for archive in archives if not _is_unpacked(archive, target / FOLDER)]


def _note(archive: Archive, folder: Path) -> Path:
    return folder / f"{archive.name}.unpacked"


def _is_unpacked(archive: Archive, folder: Path) -> bool:
    note = _note(archive, folder)
    return note.is_file() and atomic.read_bytes(note).decode().strip() == archive.md5


def _refuse_foreign(target: Path) -> None:
    """A folder with files of the user's own is not written into: unpacking replaces what has the same name."""
    if target.is_dir() and not (target / FOLDER).exists() and any(p.name[0] != "." for p in target.iterdir()):
        raise UsageError(
            f"{target}: holds files that --download did not put there; leave it out, or give an empty folder"
        )


def _unpack(archive: Archive, path: Path, target: Path) -> int:
    try:
        return unpack(path, target)
    except DataError:
        if archive.remade:  # parts of two packings, perhaps: no md5 told before
            path.unlink()
        raise


def fetch(archive: Archive, folder: Path, progress: Progress, waits: Sequence[float] = WAITS_SECONDS) -> Path:
    """The path of an archive in ``folder`` once its md5 is right; DataError where it is not, and the file is gone."""
    path = folder / archive.name
    part = folder / f"{archive.name}.part"
    try:
        if not path.is_file():
            _Transfer(archive, part, progress).run(waits)
            part.replace(path)
        md5 = _md5(path)
    except OSError as error:
        raise atomic.environment_failure(error, path, archive.n_bytes or 0) from error
    if md5 == archive.md5:
        return path
    if archive.remade:
        log.warning("%s: its md5 is %s, not %s: it was packed anew, or changed", archive.url, md5, archive.md5)
        return path
    path.unlink()
    raise DataError(f"{archive.url}: its md5 is {md5}, not {archive.md5} as published; removed, run it again")


class _Transfer:
    """One file on its way: attempts until it is whole, each going on where the last one ended."""

    def __init__(self, archive: Archive, part: Path, progress: Progress) -> None:
        self.archive, self.part, self.progress = archive, part, progress
        self.total = archive.n_bytes
        self.told = False

    def run(self, waits: Sequence[float]) -> None:
        """Make attempts until the file is whole; EnvironmentFailure when as many as there are waits brought nothing."""
        failures = 0
        while self.total is None or self.have() != self.total:
            before = self.have()
            try:
                self._attempt(before)
                continue
            except (OSError, http.client.HTTPException) as error:
                reason = self._passing(error)
            failures = 0 if self.have() > before else failures + 1
            if failures > len(waits):
                raise EnvironmentFailure(
                    f"{self.archive.url}: {reason}; {self.have()} bytes are kept, run it again to go on"
                )
            wait = waits[max(0, failures - 1)] if waits else 0.0
            log.warning("%s: %s; going on from byte %d in %g s", self.archive.url, reason, self.have(), wait)
            time.sleep(wait)

    def have(self) -> int:
        """Bytes that are there; more than there should be are thrown away."""
        n_bytes = self.part.stat().st_size if self.part.is_file() else 0
        if n_bytes > self._left(0):
            self.part.unlink()
            return 0
        return n_bytes

    def _attempt(self, start: int) -> None:
        """Ask for what is missing and write it; OSError or HTTPException where the connection or the server fails."""
        headers = {"User-Agent": "asctool", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(_checked(self.archive.url), headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            resumed = answer.status == 206 and _first_byte(answer) == start
            if start and not resumed:
                start = 0  # the server sends the whole file, or another part of it
                if answer.status == 206:
                    self.part.unlink()
                    raise ConnectionError("the server sent another part than was asked for")
            self._expect(start, answer)
            self._write(start, answer)
        if self.total is None:
            self.total = self.have()  # http.client has seen the end that chunks have
        if self.have() != self.total:
            raise ConnectionError(f"the connection ended after {self.have()} of {self.total} bytes")

    def _expect(self, start: int, answer: http.client.HTTPResponse) -> None:
        """Learn the size from the server where it was not known; refuse another one than was published."""
        length = answer.headers.get("Content-Length", "")
        said = start + int(length) if length.isdigit() else None
        if self.total is None:
            self.total = said  # None still: what is packed while it is sent has no length before
        elif said is not None and said != self.total:
            raise DataError(
                f"{self.archive.url}: the server has {said} bytes, {self.total} were published; it is another file now"
            )
        to_come = self._left(start) if self.total is not None else 0
        free = shutil.disk_usage(self.part.parent).free
        if to_come > free:
            raise EnvironmentFailure(
                f"{self.part.parent}: no room: {to_come / 1e6:.1f} MB are to come, {free / 1e6:.1f} MB are free"
            )
        if self.total is not None and not self.told:
            self.progress.start(f"download {self.archive.name}", round(self.total / 1e6, 1), "MB")
            self.progress.advance(start / 1e6)
            self.told = True

    def _left(self, start: int) -> int:
        return (MAX_BYTES if self.total is None else self.total) - start

    def _write(self, start: int, answer: http.client.HTTPResponse) -> None:
        left = self._left(start)
        with self._opened("ab" if start else "wb") as file:
            while left > 0 and (block := answer.read(min(BLOCK_BYTES, left))):
                self._put(file, block)
                left -= len(block)
                if self.told:
                    self.progress.advance(len(block) / 1e6)

    # What the disk refuses is no failure of the network, after which to try again.

    def _opened(self, mode: str) -> BinaryIO:
        try:
            return cast(BinaryIO, self.part.open(mode))
        except OSError as error:
            raise atomic.environment_failure(error, self.part) from error

    def _put(self, file: BinaryIO, block: bytes) -> None:
        try:
            file.write(block)
            file.flush()
        except OSError as error:
            raise atomic.environment_failure(error, self.part, (self.total or 0) - self.have()) from error

    def _passing(self, error: Exception) -> str:
        """Why an attempt failed, where another one may not; EnvironmentFailure where it would."""
        if isinstance(error, urllib.error.HTTPError):
            reason = f"the server says {error.code} {error.reason}"
            if error.code == 416:  # no such range: what is there is not a beginning of this file
                self.part.unlink(missing_ok=True)
            elif error.code not in PASSING:
                raise EnvironmentFailure(f"{self.archive.url}: {reason}; download it by hand") from error
            return reason
        return str(getattr(error, "reason", None) or error) or type(error).__name__


def _first_byte(answer: http.client.HTTPResponse) -> int:
    """Where the part begins that a server sends; -1 where it does not say."""
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1


def _checked(url: str) -> str:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url}: only http and https are fetched")
    return url


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
