"""What a container promises, held against the bytes of its file: sizes of chunks, pages, frames. Nothing here decodes.

A decoder stops without complaint where a cut file stops; that the file should go on is told by its container alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from asctool.storage._frames import mp3_frame_bytes, mp3_layout, ogg_layout
from asctool.storage._source import AGAIN, CUT, REWRITE, Layout, Source

MAX_CHUNKS = 10_000  # of a wav file; a real one has a dozen, and a file of empty chunks must not take minutes


def examine(source: Source, every_byte: bool) -> Layout:
    """The layout of a file, DataError where it is cut, damaged or unknown.

    Pages and frames of ogg and mp3 run through the whole file, and are followed with ``every_byte`` only; so are those
    of an mp3 without a Xing tag always, for they are its length.
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
        return ogg_layout(source) if every_byte else Layout("ogg", source.size)
    if mp3_frame_bytes(head[:4]):
        return mp3_layout(source, start, every_byte)
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
