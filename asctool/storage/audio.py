"""Audio files in: decoded, checked, resampled. Samples are float32 (channel, sample), full scale 1.

soundfile returns data without complaint for many broken files; the checks here are those it leaves out.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asctool.errors import DataError

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000  # what recorders and converters make
MAX_CHANNELS = 32
MAX_SECONDS = 4 * 3600.0  # a longer recording is cut first; a header that claims more is not believed
MAX_DECODED_BYTES = 1 << 30  # of samples in memory at once
BLOCK_FRAMES = 1 << 20
CLIPPED = 32767 / 32768


@dataclass(frozen=True)
class AudioFacts:
    """What decoding a file whole told of it."""

    sample_rate: int  # Hz
    channels: int
    frames: int
    sha256: str
    warnings: tuple[str, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate


def inspect(path: Path) -> AudioFacts:
    """Decode a file whole, block by block, and tell what is in it; DataError where it is broken."""
    check_container(path)
    info = _open(path)
    with info as file:
        if file.frames > MAX_SECONDS * file.samplerate:
            raise DataError(f"{path}: {file.frames / file.samplerate:.0f} s is longer than {MAX_SECONDS:.0f} s; cut it")
        frames, peak, total, silent = 0, 0.0, np.zeros(file.channels), True
        for block in _blocks(file, path):
            frames += len(block)
            peak = max(peak, float(np.abs(block).max(initial=0)))
            total += block.sum(0, dtype=np.float64)
            silent &= not block.any()
        facts = AudioFacts(
            file.samplerate,
            file.channels,
            frames,
            file_hash(path),
            _warnings(path, file.format, peak, total / max(frames, 1)),
        )
    if frames < 2:
        raise DataError(f"{path}: holds {frames} samples")
    return facts


def read(path: Path, start: float = 0.0, duration: float | None = None) -> tuple[np.ndarray, int]:
    """Samples (channel, sample) float32 of a part of a file (seconds), and their rate; DataError where it is broken."""
    check_container(path)
    with _open(path) as file:
        rate = file.samplerate
        first = round(start * rate)
        wanted = file.frames - first if duration is None else round(duration * rate)
        if wanted * file.channels * 4 > MAX_DECODED_BYTES:
            raise DataError(
                f"{path}: {wanted / rate:.0f} s x {file.channels} channels do not fit in 1 GiB; cut it first"
            )
        if first:
            file.seek(min(first, file.frames))
        samples = _decode(file, wanted, path)
    if len(samples) + 1 < wanted:
        raise DataError(f"{path}: {len(samples)} samples of the {wanted} wanted; the file is cut short")
    return np.ascontiguousarray(samples.T), rate


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
    """sha256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_container(path: Path) -> None:
    """Refuse what is no regular file, is empty, or promises other sizes than the file has."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path}: is no regular file")
    if status.st_size == 0:
        raise DataError(f"{path}: is empty")
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            _check_riff(path, file, status.st_size)


def _check_riff(path: Path, file: BinaryIO, size: int) -> None:
    """The data chunk must lie inside the file: a truncated wav shows nowhere else."""
    position = 12
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        name, length = header[:4], int.from_bytes(header[4:8], "little")
        if name == b"data":
            if position + 8 + length > size and length not in (0, 0xFFFFFFFF):
                raise DataError(
                    f"{path}: is cut short: {length} bytes of samples promised, {size - position - 8} there"
                )
            return
        position += 8 + length + (length & 1)
    raise DataError(f"{path}: is a wav file without samples")


def _open(path: Path) -> "soundfile.SoundFile":  # type: ignore[name-defined]  # noqa: F821
    import soundfile

    try:
        file = soundfile.SoundFile(os.fspath(path))
    except (soundfile.LibsndfileError, TypeError) as error:
        raise DataError(f"{path}: is no audio that can be read ({_reason(error)})") from error
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        raise DataError(f"{path}: a sample rate of {file.samplerate} Hz is not plausible")
    if not 1 <= file.channels <= MAX_CHANNELS:
        raise DataError(f"{path}: {file.channels} channels (1 to {MAX_CHANNELS} are read)")
    return file


def _decode(file: "soundfile.SoundFile", frames: int, path: Path) -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    import soundfile

    try:
        if file.subtype == "PCM_16":
            # bit-equal to soundfile's own float32, and 1.4 to 6 times as fast
            return file.read(frames, "int16", always_2d=True) * np.float32(1 / 32768)
        samples = file.read(frames, "float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be decoded ({_reason(error)})") from error
    if not np.isfinite(samples).all():
        raise DataError(f"{path}: holds samples that are not finite")
    return samples


def _blocks(file: "soundfile.SoundFile", path: Path):  # type: ignore[no-untyped-def, name-defined]  # noqa: F821
    promised, got = file.frames, 0
    while True:
        block = _decode(file, BLOCK_FRAMES, path)
        if not len(block):
            break
        got += len(block)
        yield block
    if got < promised:
        raise DataError(f"{path}: {got} samples read of {promised} promised; the file is cut short or damaged")


def _warnings(path: Path, container: str, peak: float, mean: np.ndarray) -> tuple[str, ...]:
    out = []
    if peak == 0:
        out.append("digital silence")
    if peak > 1.1:  # lossy codecs overshoot by a few per cent
        out.append(f"samples up to {peak:.3g}, over full scale")
    if np.abs(mean).max() > 0.1:
        out.append(f"a constant offset of {np.abs(mean).max():.2f}")
    suffix = path.suffix.lower().lstrip(".")
    if (
        suffix in ("wav", "flac", "ogg", "mp3", "aiff")
        and suffix not in container.lower()
        and container not in _WAV_KINDS
    ):
        out.append(f"named .{suffix}, but is {container}")
    return tuple(out)


_WAV_KINDS = ("WAVEX", "RF64", "W64")


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
