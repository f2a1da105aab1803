"""Archives that others made, unpacked: regular files only, inside the target only, of a size that was allowed.

``extractall`` of tarfile and zipfile is not used: the filters of the one were bypassed before, and the other renames
what it should refuse. Everything goes to a folder beside its place first, so that an archive that is refused at its
last member leaves nothing.
"""

import contextlib
import gzip
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import IO, NamedTuple

from asctool.errors import DataError, EnvironmentFailure
from asctool.storage import atomic

BLOCK_BYTES = 1 << 20  # in memory at once
MAX_MEMBERS = 200_000  # ten times what the largest archive of a corpus holds
MAX_RATIO = 30  # unpacked to packed: tables of text reach 10, audio 4
SLACK_BYTES = 64 << 20  # small archives may be denser
MAX_NAME_BYTES = 1024
STAGING = f"{atomic.TEMPORARY}unpack"
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error),
    *(struct.error, EOFError, UnicodeDecodeError, NotImplementedError),  # the last: an unknown way of packing
)


class Member(NamedTuple):
    """A regular file of an archive."""

    name: str
    n_bytes: int  # as the archive says: what comes is counted
    content: IO[bytes]


def unpack(archive: Path, target: Path, max_bytes: int | None = None) -> int:
    """Unpack a .zip, .tar.gz or .tgz into an existing directory, over files of the same names; the number of files.

    DataError, and the target as it was, where a member is a link or a device, leads out of the target or comes twice,
    where the archive is damaged or holds more than ``max_bytes`` (if not given, 30 times its own size and 64 MiB).
    """
    try:
        limit = MAX_RATIO * archive.stat().st_size + SLACK_BYTES if max_bytes is None else max_bytes
        staging = target / STAGING
        _remove(staging)
        try:
            staging.mkdir()
            names = _write_all(archive, staging, limit)
            _check_places(archive, target, names)
            for name in names:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (staging / name).replace(target / name)
            os.sync()  # before the caller does away with the archive
        finally:
            _remove(staging)
    except OSError as error:
        raise atomic.environment_failure(error, target) from error
    return len(names)


def _write_all(archive: Path, staging: Path, limit: int) -> list[str]:
    """Every member as a file below ``staging``; their names."""
    names: set[str] = set()
    left = limit
    try:
        with _members(archive, limit) as members:
            for member in members:
                name = _clean_name(archive, member.name)
                if name in names:
                    raise _refused(archive, name, "comes twice")
                if len(names) == MAX_MEMBERS:
                    raise _refused(archive, name, f"is one of more than {MAX_MEMBERS} files")
                names.add(name)
                left -= _write(archive, member, staging, name, left)
    except BROKEN as error:
        raise DataError(f"{archive}: is damaged, or no archive ({error}); download it again") from error
    return sorted(names)


def _write(archive: Path, member: Member, staging: Path, name: str, left: int) -> int:
    """Write one member, counting what really comes; the number of bytes."""
    free = shutil.disk_usage(staging).free
    if free < member.n_bytes <= left:
        needed = f"{member.n_bytes / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free"
        raise EnvironmentFailure(f"{archive}: no room to unpack {name}: {needed}; free some space and run it again")
    path = staging / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, name, "is a file and a folder at once") from error
    written = 0
    with file:
        while block := b"" if member.n_bytes > left else member.content.read(BLOCK_BYTES):
            written += len(block)
            if written > left:
                break
            file.write(block)
    if max(written, member.n_bytes) > left:
        raise _refused(archive, name, "makes it larger than an archive of its size may become")
    return written


@contextlib.contextmanager
def _members(archive: Path, limit: int) -> Iterator[Iterator[Member]]:
    """The regular files of an archive, one after the other."""
    name = archive.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(archive) as file:
            yield _zip_members(archive, file)
    elif name.endswith((".tar.gz", ".tgz")):
        with gzip.open(archive) as packed:
            yield _tar_members(archive, _Bounded(archive, packed, limit))
    else:
        raise DataError(f"{archive}: .zip, .tar.gz and .tgz are unpacked; unpack it by hand")


def _zip_members(archive: Path, file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        if info.is_dir():
            continue  # folders come with their files
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):  # 0: written where files have no modes
            raise _refused(archive, info.orig_filename, "is a link or a device")
        if info.flag_bits & 1:
            raise _refused(archive, info.orig_filename, "is encrypted")
        with file.open(info) as content:
            # the name as the archive has it: ``filename`` is cut at a zero byte
            yield Member(info.orig_filename, info.file_size, content)


def _tar_members(archive: Path, packed: "_Bounded") -> Iterator[Member]:
    with tarfile.open(fileobj=packed, mode="r:") as file:  # type: ignore[call-overload]
        while (info := file.next()) is not None:
            file.members.clear()  # a list of every header so far
            if info.isdir():
                continue
            content = file.extractfile(info) if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
            if content is None:
                raise _refused(archive, info.name, "is a link or a device")
            yield Member(info.name, info.size, content)
    while packed.read(BLOCK_BYTES):
        pass  # up to the checksum of gzip, which stands behind the end of tar


class _Bounded:
    """What a .tar.gz unpacks to, for tarfile, which would take a header of gigabytes into memory whole."""

    def __init__(self, archive: Path, file: gzip.GzipFile, limit: int) -> None:
        self.archive, self.file = archive, file
        self.end = limit + MAX_MEMBERS * 4 * tarfile.BLOCKSIZE + BLOCK_BYTES  # with headers and padding

    def read(self, n_bytes: int) -> bytes:
        """Some bytes; DataError where they are too many, or too far on."""
        if n_bytes > BLOCK_BYTES:
            raise DataError(f"{self.archive}: refused: has a header of {n_bytes} bytes; nothing was unpacked")
        self._check(self.file.tell() + n_bytes)
        return self.file.read(n_bytes)

    def seek(self, position: int) -> int:
        """Go to a position, counted in unpacked bytes."""
        self._check(position)
        return self.file.seek(position)

    def tell(self) -> int:
        """The position in unpacked bytes."""
        return self.file.tell()

    def _check(self, position: int) -> None:
        if position > self.end:
            raise DataError(f"{self.archive}: refused: unpacks to more than {self.end} bytes; nothing was unpacked")


def _clean_name(archive: Path, name: str) -> str:
    """A member's path inside the target; DataError where it has none."""
    if not name.isprintable() or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise _refused(archive, name, "has a name that is too long, or with characters that cannot be printed")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or "\\" in name or PureWindowsPath(name).drive or ".." in parts or not parts:
        raise _refused(archive, name, "is a path that leads out of the folder")
    if parts[0].startswith(atomic.TEMPORARY):
        raise _refused(archive, name, "has a name that is kept for files under way")
    return "/".join(parts)


def _check_places(archive: Path, target: Path, names: list[str]) -> None:
    """Refuse to write through a link, or over anything but a regular file, that lies in the target."""
    folders = {str(parent) for name in names for parent in Path(name).parents if parent != Path()}
    for name, is_right in [
        *((name, Path.is_dir) for name in sorted(folders)),
        *((name, Path.is_file) for name in names),
    ]:
        path = target / name
        if path.is_symlink() or (path.exists() and not is_right(path)):
            raise DataError(f"{path}: lies where {archive.name} has something else of this name; remove it")


def _refused(archive: Path, name: str, reason: str) -> DataError:
    shown = repr(name) if name.isprintable() and len(name) <= MAX_NAME_BYTES else f"{name[:100]!a}..."
    return DataError(f"{archive}: refused: {shown} {reason}; nothing was unpacked")


def _remove(folder: Path) -> None:
    """Remove what an unpacking that was killed left."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
