"""Spectrograms as small PNG files, and attention drawn over them. Levels are (band, frame), low bands first."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from asctool.report_page.values import Attention

RANGE = 80.0 * np.log(10) / 10  # 80 dB below the loudest, in units of the natural logarithm of power
HEIGHT = 100.0  # of the viewBox that attention is drawn in
HEADROOM = 0.92  # of it, for the largest weight


def png(levels: np.ndarray) -> bytes:
    """An indexed PNG of natural logarithms of power, one pixel a value, in matplotlib's magma."""
    from matplotlib import colormaps

    top = float(levels.max())
    low = max(float(levels.min()), top - RANGE)
    shades = np.round(np.clip((levels - low) / max(top - low, 1e-6), 0, 1) * 255).astype(np.uint8)[::-1]
    height, width = shades.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), shades], axis=1)  # a zero before each line: no filter
    colours = np.round(colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, palette
    parts = [
        (b"IHDR", header),
        (b"PLTE", colours.tobytes()),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def join(pieces: np.ndarray, starts: Sequence[float], frame_seconds: float) -> np.ndarray:
    """Segments (piece, band, frame) put where they lie in time: (band, frame); what none covers is the lowest value."""
    firsts = np.round(np.asarray(starts) / frame_seconds).astype(int)
    n_bands, n_frames = pieces.shape[1:]
    out = np.full((n_bands, int(firsts.max()) + n_frames), pieces.min(), np.float32)
    for first, piece in zip(firsts, pieces):
        out[:, first : first + n_frames] = piece
    return out


def overlay(attention: Sequence[Attention], seconds: float) -> Markup:
    """A curve a segment over the whole picture; zero is its lower edge, the largest weight near its upper one."""
    largest = max(float(one.weights.max()) for one in attention)
    paths = []
    for one in attention:
        step = one.seconds / len(one.weights)
        times = one.start + step * (np.arange(len(one.weights)) + 0.5)
        heights = HEIGHT * (1 - HEADROOM * one.weights / largest)
        points = "L".join(f"{1000 * t / seconds:.1f} {h:.1f}" for t, h in zip(times, heights))
        paths.append(Markup('<path class="halo" d="M{0}"/><path class="weight" d="M{0}"/>').format(points))
    return Markup(
        '<svg class="attention" viewBox="0 0 1000 {:g}" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(HEIGHT, Markup("").join(paths))


def most_attended(attention: Sequence[Attention]) -> float:
    """Seconds into the clip at which the largest weight lies."""
    one = max(attention, key=lambda one: float(one.weights.max()))
    return one.start + one.seconds * (int(one.weights.argmax()) + 0.5) / len(one.weights)
