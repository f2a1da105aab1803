"""An audio file that is open for examination, what its container may say of it, and how it is refused."""

import os
from dataclasses import dataclass
from pathlib import Path

from asctool.errors import DataError

CUT = "is cut short"
AGAIN = "copy or download it again"
REWRITE = "ffmpeg can write it anew"


def broken(path: Path, reason: str) -> DataError:
    """One line, whatever characters the name of the file has."""
    name = str(path)
    return DataError(f"{name if name.isprintable() else ascii(name)}: {reason}")


@dataclass(frozen=True)
class Source:
    """An open regular file; reads leave its position alone, which the decoder moves."""

    path: Path
    handle: int
    size: int  # bytes

    def at(self, position: int, length: int) -> bytes:
        """Bytes from a position on, fewer at the file's end."""
        return os.pread(self.handle, length, position) if 0 <= position < self.size else b""

    def error(self, reason: str) -> DataError:
        """Reason and remedy, with the file's name."""
        return broken(self.path, reason)


@dataclass(frozen=True)
class Layout:
    """What a container says of its content."""

    kind: str  # wav, w64, aiff, caf, au, flac, ogg, mp3
    end: int  # bytes; what lies behind is not for the decoder, which gets zeros where the file ends before
    frames: int | None = None  # where the last block of a codec is padded, or the decoder would estimate them
    md5: bytes | None = None  # of the samples as whole bytes, little-endian
    bits: int = 0  # of a sample, where there is an md5
    note: str = ""  # what a person should know
