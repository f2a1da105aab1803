"""Audio files in: checked, decoded, resampled. Samples are float32 (channel, sample), full scale 1.

soundfile returns data without complaint for many broken files; the checks here and in ``_containers`` are those it
leaves out. What no check can find is damage inside the samples of a format without checksums: wav, aiff, adpcm.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from asctool.storage._containers import examine
from asctool.storage._levels import Levels, check_range, levels_of, oddities
from asctool.storage._source import AGAIN, CUT, REWRITE, Layout, Source, broken

if TYPE_CHECKING:
    from soundfile import SoundFile

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000  # what recorders and converters make
MAX_CHANNELS = 32
MAX_SECONDS = 4 * 3600.0  # of a file, where the caller gives no other limit
MAX_DECODED_BYTES = 1 << 30  # of samples in memory at once
MIN_BYTES_PER_SECOND = 100  # of sound: an eighth of what opus takes at its lowest rate, twice flac of silence
MAX_PIECE_BYTES = 1 << 26  # of samples, where a file is read piece by piece
BLOCK_SAMPLES = 1 << 16  # decoded at once, all channels together: 256 KiB stay in the second-level cache
MP3_RESERVOIR = 16 * 1152  # samples; the 511 bytes kept for later frames lie in fewer, but at the lowest bit rates
MAX_PADDING = 4096  # samples that the last block of an adpcm file may hold too many
FULL_SCALE = {"int16": 1 << 15, "int32": 1 << 31, "float32": 1}

SUFFIXES = {"wave": "wav", "rf64": "wav", "aif": "aiff", "aifc": "aiff", "oga": "ogg", "opus": "ogg", "snd": "au"}


@dataclass(frozen=True)
class AudioFacts:
    """What decoding a file whole told of it."""

    sample_rate: int  # Hz
    channels: int
    frames: int
    sha256: str
    xxh3_128: str  # of the same bytes, ten times as fast: what every stage that reads them checks
    warnings: tuple[str, ...]  # one at most

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate

    def as_dict(self) -> dict[str, str | int]:
        """What a data directory keeps of a file."""
        return {name: getattr(self, name) for name in ("sha256", "xxh3_128", "sample_rate", "channels")}

    @property
    def max_part(self) -> float:
        """Seconds of the longest part that :func:`read` takes into memory."""
        return MAX_DECODED_BYTES / (4 * self.channels * self.sample_rate)


def inspect(path: Path, max_seconds: float = MAX_SECONDS) -> AudioFacts:
    """Check a file's container, decode it whole, block by block, and tell what is in it; DataError where it is broken.

    A few bytes of flac can hold hours of silence, so that a length is a matter of policy: ``max_seconds``.
    """
    with _opened(path) as source:
        layout = examine(source, every_byte=True)
        with _decoder(source, layout) as file:
            frames, rate = _frames(file, layout, source), file.samplerate
            if frames > max_seconds * rate:
                reason = f"its {frames / rate:.0f} s are more than max_seconds={max_seconds:g}; cut it, or raise that"
                raise source.error(reason)
            levels = _levels(file, frames, layout, source)
        warnings = [text for text in (_named(path, layout), layout.note, *oddities(levels)) if text]
        return AudioFacts(rate, len(levels.low), frames, *_hashes(source), ("; ".join(warnings),) if warnings else ())


def read(path: Path, start: float = 0.0, duration: float | None = None) -> tuple[np.ndarray, int]:
    """Samples (channel, sample) float32 of a part of a file (seconds), and their rate; DataError where it is broken.

    Only what costs little is checked again: :func:`inspect` has seen every byte of a file that a stage trusts.
    """
    with _opened(path) as source:
        layout = examine(source, every_byte=False)
        with _decoder(source, layout) as file:
            first, wanted = _part(file, layout, source, start, duration)
            _seek(file, first)
            samples = np.empty((file.channels, wanted), np.float32)
            dtype = "int16" if file.subtype == "PCM_16" else "float32"
            got = 0
            for block in _blocks(file, wanted, dtype):
                _put(block, samples[:, got : got + len(block)], source)
                got += len(block)
            if got < wanted:
                raise source.error(f"{CUT} or damaged: {got} samples read of {wanted} promised; {AGAIN}")
            return samples, file.samplerate


def pieces(path: Path, seconds: float) -> Iterator[tuple[np.ndarray, int, bool]]:
    """All samples of a file piece by piece: (channel, sample) float32, their rate, and whether it is the last.

    As much is checked as by :func:`inspect`, at the memory of one piece of ``seconds``, or of ``MAX_PIECE_BYTES``; a
    DataError may therefore come after other pieces. Any length is read, unless it is longer than ``MAX_SECONDS`` and
    packed as nothing but silence can be.
    """
    with _opened(path) as source:
        layout = examine(source, every_byte=True)
        with _decoder(source, layout) as file:
            frames, rate = _frames(file, layout, source), file.samplerate
            dtype = "int16" if file.subtype == "PCM_16" else "int32" if layout.md5 else "float32"
            if frames > MAX_SECONDS * rate and source.size * rate < MIN_BYTES_PER_SECOND * frames:
                raise source.error(f"{frames / rate:.0f} s in {source.size} bytes can only be silence; leave it out")
            md5 = hashlib.md5(usedforsecurity=False)
            size = max(1, min(round(seconds * rate), MAX_PIECE_BYTES // (4 * file.channels)))
            for first in range(0, frames, size):
                samples = np.empty((file.channels, min(size, frames - first)), np.float32)
                got = 0
                for block in _blocks(file, samples.shape[1], dtype):
                    _put(block, samples[:, got : got + len(block)], source)
                    got += len(block)
                    if layout.md5:
                        md5.update(_whole_bytes(block, layout.bits))
                if got < samples.shape[1]:
                    raise source.error(f"{CUT} or damaged: {first + got} samples read of {frames} promised; {AGAIN}")
                is_last = first + size >= frames
                if is_last and layout.md5 and md5.digest() != layout.md5:
                    raise source.error(f"is damaged: its samples have another md5 than its header says; {AGAIN}")
                yield samples, rate, is_last


def to_mono(samples: np.ndarray) -> np.ndarray:
    """Mean of the channels, as (1, sample)."""
    return samples if len(samples) == 1 else samples.mean(0, keepdims=True, dtype=np.float32)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Samples (channel, sample) at another rate, by soxr's high-quality filter (its images lie below -100 dB)."""
    if rate == new_rate:
        return samples
    import soxr

    return np.ascontiguousarray(soxr.resample(samples.T, rate, new_rate, quality="HQ").T, dtype=np.float32)


def file_hash(path: Path) -> str:
    """sha256 of a regular file's bytes."""
    with _opened(path) as source:
        return _hashes(source)[0]


def check_container(path: Path) -> None:
    """Refuse what is no regular file, is empty, or promises other sizes than the file has."""
    with _opened(path) as source:
        examine(source, every_byte=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Source]:
    """A regular file, open; whatever the operating system has against it is a DataError."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise broken(path, "is no regular file; give the audio file itself")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO put here meanwhile would wait for its writer
        try:
            yield Source(path, handle, os.fstat(handle).st_size)
        finally:
            os.close(handle)
    except OSError as error:
        if error.strerror is None:  # not the file's: libsndfile cannot be loaded
            raise
        link = " (it is a link to what is not there)" if path.is_symlink() and not path.exists() else ""
        raise broken(path, f"{error.strerror}{link}; check the path") from error
    except ValueError as error:  # a zero byte in the name
        raise broken(path, str(error)) from error


@contextlib.contextmanager
def _decoder(source: Source, layout: Layout) -> Iterator["SoundFile"]:
    """libsndfile at the file's beginning; whatever it has against the file is a DataError.

    It gets the descriptor, for by a Python object Ctrl-C would be lost in its callbacks, and by the name it guesses.
    """
    import soundfile

    class Stream(soundfile.SoundFile):
        def seekable(self) -> bool:
            """False, for soundfile seeks after each read where it may, and mp3 then lacks the bits of earlier frames.

            :meth:`seek` does not ask.
            """
            return False

    with _as_decoded(source, layout) as handle:
        try:
            with Stream(handle, closefd=False) as file:
                if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
                    raise source.error(f"a sample rate of {file.samplerate} Hz is not plausible; is its header right?")
                if not 1 <= file.channels <= MAX_CHANNELS:
                    raise source.error(f"{file.channels} channels, 1 to {MAX_CHANNELS} are read; split it")
                yield file
        except soundfile.SoundFileError as error:
            reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
            raise source.error(f"cannot be decoded ({reason}); {AGAIN}, or {REWRITE}") from error


@contextlib.contextmanager
def _as_decoded(source: Source, layout: Layout) -> Iterator[int]:
    """Descriptor of the file, or of a copy that ends with the layout: without a tail, or with zeros behind.

    libsndfile refuses a whole wav file when another one follows it; what the zeros are for says ``mp3_layout``.
    """
    if layout.end == source.size:
        os.lseek(source.handle, 0, os.SEEK_SET)
        yield source.handle
        return
    with tempfile.TemporaryFile() as part:
        end = min(layout.end, source.size)
        for position in range(0, end, BLOCK_SAMPLES):
            part.write(source.at(position, min(BLOCK_SAMPLES, end - position)))
        part.truncate(layout.end)
        part.seek(0)
        yield part.fileno()


def _frames(file: "SoundFile", layout: Layout, source: Source) -> int:
    """Samples of a channel: those of the container where it counts them and libsndfile guesses or pads them."""
    frames = int(file.frames)
    if layout.frames is not None and (layout.kind == "mp3" or frames - MAX_PADDING < layout.frames < frames):
        frames = layout.frames
    if frames < 2:
        raise source.error(f"holds {frames} samples; leave it out")
    return frames


def _part(file: "SoundFile", layout: Layout, source: Source, start: float, duration: float | None) -> tuple[int, int]:
    """First frame and number of frames of a part in seconds; rounding may cost it its last frame."""
    frames, rate = _frames(file, layout, source), file.samplerate
    first = round(start * rate)
    wanted = frames - first if duration is None else round(duration * rate)
    if first < 0 or wanted < 1 or first + wanted > frames + 1:
        raise source.error(f"{wanted / rate:g} s from {start:g} s on are not in it; it has {frames / rate:g} s")
    if wanted * file.channels * 4 > MAX_DECODED_BYTES:
        raise source.error(f"{wanted / rate:.0f} s x {file.channels} channels do not fit in 1 GiB; cut it first")
    return first, min(wanted, frames - first)


def _seek(file: "SoundFile", first: int) -> None:
    """To a frame; in mp3 by way of earlier ones, for where its decoder lands it lacks the bits that those hold."""
    earlier = min(first, MP3_RESERVOIR) if file.format == "MP3" else 0
    if first:
        file.seek(first - earlier)
    for _ in _blocks(file, earlier, "float32"):
        pass


def _blocks(file: "SoundFile", frames: int, dtype: str) -> Iterator[np.ndarray]:
    """As many frames as there are, up to a number; (frame, channel)."""
    step = max(1, BLOCK_SAMPLES // file.channels)
    while frames > 0:
        block = file.read(min(step, frames), dtype, always_2d=True)
        if not len(block):
            return
        frames -= len(block)
        yield block


def _put(block: np.ndarray, samples: np.ndarray, source: Source) -> None:
    """Decoded (frame, channel) into float32 (channel, frame)."""
    if block.dtype == np.int16:  # bit-equal to soundfile's own float32, and 1.4 to 6 times as fast
        np.multiply(block.T, np.float32(1 / FULL_SCALE["int16"]), out=samples)
        return
    if block.dtype == np.int32:
        np.multiply(block.T, 1 / FULL_SCALE["int32"], out=samples, casting="same_kind")
        return
    check_range(block.min(), block.max(), source)
    samples[:] = block.T


def _levels(file: "SoundFile", frames: int, layout: Layout, source: Source) -> Levels:
    """Levels of all that was promised; DataError where less comes, or other samples than were encoded."""
    dtype = "int16" if file.subtype == "PCM_16" else "int32" if layout.md5 else "float32"
    md5 = hashlib.md5(usedforsecurity=False)
    levels = Levels(np.zeros(file.channels), np.zeros(file.channels), np.zeros(file.channels), 0.0, 0)
    for block in _blocks(file, frames, dtype):
        levels += levels_of(block, FULL_SCALE[dtype], source)
        if layout.md5:
            md5.update(_whole_bytes(block, layout.bits))
    if levels.frames < frames:
        raise source.error(f"{CUT} or damaged: {levels.frames} samples read of {frames} promised; {AGAIN}")
    if layout.md5 and md5.digest() != layout.md5:
        raise source.error(f"is damaged: its samples have another md5 than its header says; {AGAIN}")
    return levels


def _whole_bytes(block: np.ndarray, bits: int) -> bytes:
    """Samples as flac hashes them: interleaved, little-endian, in as few bytes as hold their bits."""
    if block.dtype == np.int16:
        return block.astype("<i2", copy=False).tobytes()
    right = (block >> (32 - bits)).astype("<i4")
    return right.view(np.uint8).reshape(-1, 4)[:, : (bits + 7) // 8].tobytes()


def _hashes(source: Source) -> tuple[str, str]:
    """sha256 and xxh3_128 of a file's bytes."""
    sha256, quick = hashlib.sha256(), xxhash.xxh3_128()
    position = 0
    while block := source.at(position, BLOCK_SAMPLES):
        sha256.update(block)
        quick.update(block)
        position += len(block)
    return sha256.hexdigest(), quick.hexdigest()


def _named(path: Path, layout: Layout) -> str:
    suffix = path.suffix.lower().lstrip(".")
    meant = SUFFIXES.get(suffix, suffix)
    known = {"wav", "w64", "caf", "flac", "mp3", *SUFFIXES.values()}
    return f"named .{suffix}, but is {layout.kind}" if meant in known and meant != layout.kind else ""
