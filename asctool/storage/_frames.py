"""Containers that are pages or frames to their end, ogg and mp3: each followed and checked. Nothing here decodes."""

import functools
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from asctool.storage._source import AGAIN, CUT, REWRITE, Layout, Source

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


def ogg_layout(source: Source) -> Layout:
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
_MAX_FRAME_BYTES = 1729  # layer 2 at 384 kbit/s and 32 kHz, padded
_XING, _VBRI = b"Xing", b"VBRI"  # tags in a first frame that count the others; Xing's may be named Info
_SAME_IN_ALL = 0xFFFE0C00  # bits of a header that every frame of a file shares: sync, version, layer, sample rate


@functools.lru_cache(1024)  # the frames of a file have a few headers, and an hour has 140 000 frames
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
    return _frame_samples(header) // 8 * bit_per_s // rate_hz + (header[2] >> 1 & 1)


def _frame_samples(header: bytes) -> int:
    """Samples of a channel in a frame."""
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    return 576 if layer == _LAYER_3 and version != 3 else 1152


def mp3_layout(source: Source, start: int, every_byte: bool) -> Layout:
    """Layout of an mp3 file whose frames follow each other without a gap, as many as its first one tells.

    Without a Xing tag libsndfile estimates the number of frames, as the file's size over that of its first frames, and
    reads no further. Here the samples are counted then, and ``end`` lies far behind the file's own: with zeros up to
    there the estimate is never too small.
    """
    first = source.at(start, 200)
    tag, promised = _tag(first)
    if tag == _XING and promised and not every_byte:
        return Layout("mp3", source.size)
    end = _before_tags(source)
    count, position = _follow_frames(source, start, end)
    left = end - position
    if promised and count < promised:
        raise source.error(f"{CUT} or damaged: {count} frames of {promised} promised; {AGAIN}")
    note = ""
    if promised and count > promised + 1:  # the frame that promises is counted by some encoders
        note = f"{count - promised - 1} frames more than promised are left unread"
        count = promised + 1
    if left and not promised and source.at(position, 4096).strip(b"\0"):
        raise source.error(f"is damaged: no frame begins at byte {position}; {AGAIN}, or {REWRITE}")
    if tag == _XING and promised:
        return Layout("mp3", source.size, note=note)
    decoded = count - (tag == _XING)  # its frame is skipped; VBRI's gives silence
    return Layout("mp3", source.size + count * _MAX_FRAME_BYTES, decoded * _frame_samples(first), note=note)


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


def _tag(first: bytes) -> tuple[bytes, int]:
    """Tag of the first frame, behind what it skips for the decoder, and the frames that it counts; 0 if it does not."""
    mpeg1, mono = first[1] >> 3 & 3 == 3, first[3] >> 6 == 3
    tag = first[4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17)) :]
    if tag[:4] in (_XING, b"Info"):
        return _XING, int.from_bytes(tag[8:12], "big") if int.from_bytes(tag[4:8], "big") & 1 else 0
    return (_VBRI, int.from_bytes(first[50:54], "big")) if first[36:40] == _VBRI else (b"", 0)


def _before_tags(source: Source) -> int:
    """Where ID3v1 and APE tags at the end of a file begin."""
    end = source.size - (128 if source.at(source.size - 128, 3) == b"TAG" else 0)
    footer = source.at(end - 32, 32)
    if footer[:8] == b"APETAGEX":
        has_header = footer[23] >> 7
        end -= int.from_bytes(footer[12:16], "little") + 32 * has_header
    return end
