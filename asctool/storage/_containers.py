"""What a container promises, held against the bytes of its file: sizes of chunks, pages, frames. Nothing here decodes.

A decoder stops without complaint where a cut file stops; that the file should go on is told by its container alone.
"""

import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from asctool.errors import DataError

MAX_CHUNKS = 10_000  # of a wav file; a real one has a dozen, and a file of empty chunks must not take minutes
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
    end: int  # bytes; what lies behind is not for the decoder
    frames: int | None = None  # where the last block of a codec is padded
    md5: bytes | None = None  # of the samples as whole bytes, little-endian
    bits: int = 0  # of a sample, where there is an md5
    note: str = ""  # what a person should know


def examine(source: Source, every_byte: bool) -> Layout:
    """The layout of a file, DataError where it is cut, damaged or unknown.

    Pages and frames of ogg and mp3 run through the whole file, and are followed with ``every_byte`` only.
    """
    if source.size == 0:
        raise source.error(f"is empty; {AGAIN}")
    start = _after_id3(source)
    head = source.at(start, 40)
    for form in _FORMS:
        if re.match(form.magic, head, re.DOTALL):
            return _chunked(source, form, start)
    if head[:4] == b"fLaC":
        return _flac(source, start)
    if head[:4] in (b".snd", b"dns."):
        return _au(source, start)
    if head[:4] == b"OggS":
        return _ogg(source) if every_byte else Layout("ogg", source.size)
    if mp3_frame_bytes(head[:4]):
        return _mp3(source, start) if every_byte else Layout("mp3", source.size)
    raise source.error("is no audio in a known container (wav, aiff, flac, ogg, mp3, w64, rf64, caf, au); convert it")


def _after_id3(source: Source) -> int:
    head = source.at(0, 10)
    if head[:3] != b"ID3":
        return 0
    length = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0)))
    return 10 + length + (10 if head[5] & 0x10 else 0)


# Containers made of chunks: a name, a length, content.


@dataclass(frozen=True)
class _Form:
    kind: str
    magic: bytes  # regular expression over the first 40 bytes
    order: Literal["little", "big"] = "little"
    first: int = 12  # position of the first chunk
    name_bytes: int = 4
    length_bytes: int = 4
    align: int = 2
    counts_header: bool = False  # in a chunk's length
    samples: bytes = b"data"


_W64_GUID = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_FORMS = (
    _Form("wav", b"(RIFF|RF64)....WAVE"),
    _Form("wav", b"RIFX....WAVE", order="big"),
    _Form("aiff", b"FORM....AIF[FC]", order="big", samples=b"SSND"),
    _Form("caf", b"caff", order="big", first=8, length_bytes=8, align=1),
    _Form(
        *("w64", b"riff.{20}wave" + re.escape(_W64_GUID), "little", 40, 16, 8, 8, True),
        samples=b"data" + _W64_GUID,
    ),
)
_OTHER_FILES = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"caff", b"riff")


class _Chunk(NamedTuple):
    name: bytes
    body: int  # position
    length: int

    @property
    def end(self) -> int:
        return self.body + self.length


def _chunks(source: Source, form: _Form, position: int) -> Iterator[_Chunk]:
    """Chunks from a position on, until something follows that is none."""
    header = form.name_bytes + form.length_bytes
    for _ in range(MAX_CHUNKS):
        raw = source.at(position, header)
        length = int.from_bytes(raw[form.name_bytes :], form.order) - header * form.counts_header
        if len(raw) < header or length < 0 or not all(32 <= byte < 127 for byte in raw[:4]):
            return
        yield _Chunk(raw[: form.name_bytes], position + header, length)
        position += header + length + -length % form.align


def _chunked(source: Source, form: _Form, start: int) -> Layout:
    """Layout of a file of chunks, whose samples must lie inside it."""
    long_length, frames, coded = 0, 0, False
    for chunk in _chunks(source, form, start + form.first):
        if chunk.name == b"ds64":  # sizes that do not fit in 32 bits: file, samples
            long_length = int.from_bytes(source.at(chunk.body + 8, 8), "little")
        elif chunk.name == b"fmt ":
            # not integers, floats, A-law, mu-law, nor these with an extended header: blocks of samples
            coded = int.from_bytes(source.at(chunk.body, 2), form.order) not in (1, 3, 6, 7, 0xFFFE)
        elif chunk.name == b"fact":
            frames = int.from_bytes(source.at(chunk.body, 4), form.order)
        elif chunk.name == form.samples:
            if long_length and chunk.length == 0xFFFFFFFF:
                chunk = chunk._replace(length=long_length)
            end, note = _check_samples(source, form, chunk)
            return Layout(form.kind, end, frames if coded and frames else None, note=note)
    raise source.error(f"{CUT}: it ends before its samples; {AGAIN}")


def _check_samples(source: Source, form: _Form, chunk: _Chunk) -> tuple[int, str]:
    """Where the audio file ends, and a note; DataError where its samples do not lie inside the file."""
    there = source.size - chunk.body
    if _is_unknown(chunk.length, form.length_bytes):
        return source.size, "written as a stream: it does not tell its length, so a cut would not show"
    if chunk.length > there:
        raise source.error(f"{CUT}: {chunk.length} bytes of samples promised, {max(0, there)} there; {AGAIN}")
    if chunk.length == 0:
        raise source.error(f"its header promises no samples ({max(0, there)} bytes follow it); {REWRITE}")
    end = chunk.end + -chunk.length % form.align
    for more in _chunks(source, form, end):
        if more.name[:4] in _OTHER_FILES or more.end > source.size:
            break
        end = more.end + -more.length % form.align
    left = source.size - end
    if left < 8 or not source.at(end, 4096).strip(b"\0"):
        return source.size, ""
    return end, f"{left} bytes behind its end are left unread"


def _is_unknown(length: int, length_bytes: int) -> bool:
    """Whether a length stands for "not known yet": all ones, or the 2 GiB (a page less) that sox writes into a pipe."""
    return length == (1 << 8 * length_bytes) - 1 or length == 0x7FFFF000


def _au(source: Source, start: int) -> Layout:
    order: Literal["little", "big"] = "big" if source.at(start, 1) == b"." else "little"
    first, length = (int.from_bytes(source.at(start + at, 4), order) for at in (4, 8))
    chunk = _Chunk(b"", start + first, length)
    end, note = _check_samples(source, _Form("au", b"", order, align=1), chunk)
    return Layout("au", end, note=note)


def _flac(source: Source, start: int) -> Layout:
    """What STREAMINFO, the first block, holds (RFC 9639, section 8.2)."""
    info = source.at(start + 8, 34)
    if len(info) < 34 or source.at(start + 4, 1)[0] & 0x7F != 0:
        raise source.error(f"is a flac file without its header; {AGAIN}")
    packed = int.from_bytes(info[10:18], "big")  # rate 20 bits, channels 3, bits of a sample 5, frames 36
    if packed & (1 << 36) - 1 == 0:
        raise source.error(f"does not tell its length, as flac written into a pipe; {REWRITE}")
    md5 = info[18:34]
    return Layout("flac", source.size, md5=md5 if any(md5) else None, bits=(packed >> 36 & 31) + 1)


# Ogg: pages, each with a checksum (RFC 3533, section 6).


class _Page(NamedTuple):
    flags: int
    serial: int
    sequence: int


_CONTINUED, _FIRST, _LAST = 1, 2, 4
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_checksum(page: bytes) -> int:
    """CRC of a page whose checksum field is zero: polynomial 0x04c11db7, most significant bit first, from 0.

    zlib's CRC has the same polynomial with all bits in reverse, and inverts at both ends.
    """
    reversed_crc = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reversed_crc:032b}"[::-1], 2)


def _ogg(source: Source) -> Layout:
    """Layout of an ogg file with every page there, whole, and the last one marked so."""
    expected: dict[int, int] = {}  # the next page's number, of streams that have not ended
    ended = first = 0
    note = ""
    for page in _pages(source):
        first += bool(page.flags & _FIRST)
        if page.sequence != expected.get(page.serial, page.sequence):
            raise source.error(f"is damaged: page {expected[page.serial]} is missing; {AGAIN}")
        expected[page.serial] = page.sequence + 1
        if page.flags & _LAST:
            ended += 1
            del expected[page.serial]
    if expected:
        raise source.error(f"{CUT}: it has no end of stream; {AGAIN}, or {REWRITE}")
    if first > 1:
        note = f"holds {first} streams, of which the first is read"
    return Layout("ogg", source.size, note=note)


def _pages(source: Source) -> Iterator[_Page]:
    position = 0
    while position < source.size:
        head = source.at(position, 27 + 255)
        if head[:4] != b"OggS":
            raise source.error(f"is damaged: no page begins at byte {position}; {AGAIN}")
        length = 27 + head[26] + sum(head[27 : 27 + head[26]]) if len(head) > 26 else 27
        if position + length > source.size:
            raise source.error(f"{CUT}: its last page lacks {position + length - source.size} bytes; {AGAIN}")
        page = source.at(position, length)
        if ogg_checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise source.error(f"is damaged: the page at byte {position} has another checksum; {AGAIN}")
        yield _Page(page[5], int.from_bytes(page[14:18], "little"), int.from_bytes(page[18:22], "little"))
        position += length


# MPEG audio: frames, of which the first may count the others (ISO 11172-3, section 2.4.2.3; the count is Xing's).

_LAYER_2, _LAYER_3 = 2, 1  # as a frame's header has them; layer 1 is not met in the wild
_KBIT_PER_S = {  # by MPEG-1 or not, and layer
    (True, _LAYER_2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, _LAYER_3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, _LAYER_2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, _LAYER_3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATE_DIVISORS = {3: 1, 2: 2, 0: 4}  # MPEG-1, 2, 2.5
_SAME_IN_ALL = 0xFFFE0C00  # bits of a header that every frame of a file shares: sync, version, layer, sample rate


def mp3_frame_bytes(header: bytes) -> int:
    """Length of the frame that begins with these four bytes; 0 where none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] < 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version not in _RATE_DIVISORS or layer not in (_LAYER_2, _LAYER_3) or not 0 < bitrate < 15 or rate == 3:
        return 0
    bit_per_s = 1000 * _KBIT_PER_S[version == 3, layer][bitrate - 1]
    rate_hz = (44100, 48000, 32000)[rate] // _RATE_DIVISORS[version]
    samples = 576 if layer == _LAYER_3 and version != 3 else 1152
    return samples // 8 * bit_per_s // rate_hz + (header[2] >> 1 & 1)


def _mp3(source: Source, start: int) -> Layout:
    """Layout of an mp3 file whose frames follow each other without a gap, as many as its first one tells."""
    promised = _promised_frames(source.at(start, 200))
    end = _before_tags(source)
    count, position = _follow_frames(source, start, end)
    left = end - position
    if promised and count < promised:
        raise source.error(f"{CUT} or damaged: {count} frames of {promised} promised; {AGAIN}")
    if promised and count > promised + 1:  # the frame that promises is counted by some encoders
        return Layout("mp3", source.size, note=f"{count - promised - 1} frames more than promised are left unread")
    if left and not promised and source.at(position, 4096).strip(b"\0"):
        raise source.error(f"is damaged: no frame begins at byte {position}; {AGAIN}, or {REWRITE}")
    return Layout("mp3", source.size)


def _follow_frames(source: Source, position: int, end: int) -> tuple[int, int]:
    """Number of frames from a position on, and where the last one ends."""
    count, shared = 0, int.from_bytes(source.at(position, 4), "big") & _SAME_IN_ALL
    while position < end:
        header = source.at(position, 4)
        length = mp3_frame_bytes(header)
        if not length or int.from_bytes(header, "big") & _SAME_IN_ALL != shared:
            break
        if position + length > end:
            raise source.error(f"{CUT}: its last frame lacks {position + length - end} bytes; {AGAIN}, or {REWRITE}")
        count, position = count + 1, position + length
    return count, position


def _promised_frames(first: bytes) -> int:
    """Frames that the first frame tells of, behind what it skips for the decoder; 0 where it tells nothing."""
    mpeg1, mono = first[1] >> 3 & 3 == 3, first[3] >> 6 == 3
    tag = first[4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17)) :]
    if tag[:4] in (b"Xing", b"Info") and tag[7] & 1:
        return int.from_bytes(tag[8:12], "big")
    return int.from_bytes(first[50:54], "big") if first[36:40] == b"VBRI" else 0


def _before_tags(source: Source) -> int:
    """Where ID3v1 and APE tags at the end of a file begin."""
    end = source.size - (128 if source.at(source.size - 128, 3) == b"TAG" else 0)
    footer = source.at(end - 32, 32)
    if footer[:8] == b"APETAGEX":
        has_header = footer[23] >> 7
        end -= int.from_bytes(footer[12:16], "little") + 32 * has_header
    return end
