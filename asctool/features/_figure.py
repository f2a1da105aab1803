"""A figure of one clip: waveforms (sample,), features (band, frame), attention (step,) below each other, over seconds.

Frame t is centred at t hops from the beginning of its piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECIBELS = 10 / np.log(10)  # in one unit of the natural logarithm of power
RANGE_DB = 80.0  # below the loudest value: what lies lower is shown alike, so that silence does not take the colours
WIDEST_SLOPES = 99.5  # percentile at which the colours of slopes end: the few beyond are onsets
MAX_POINTS = 3000  # of a waveform, across: more than a figure has pixels
TICKS_HZ = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
MAX_TICKS = 11  # one above the other in a panel
ROW_INCHES, WIDTH_INCHES, TITLE_INCHES = 1.9, 10.0, 0.8


@dataclass(frozen=True)
class Wave:
    """Samples of one channel, full scale 1."""

    title: str
    samples: np.ndarray  # (sample,)
    sample_rate: float  # Hz
    start: float = 0.0  # seconds


@dataclass(frozen=True)
class Bands:
    """Natural logarithm of band power, or its slope a frame, in pieces of one length that may overlap."""

    title: str
    pieces: np.ndarray  # (piece, band, frame)
    starts: Sequence[float]  # seconds, of each piece
    frame_seconds: float
    band_hz: np.ndarray  # (band,), ascending
    is_slope: bool = False


@dataclass(frozen=True)
class Attention:
    """Weights over the steps of each piece, which are equally long and fill it."""

    title: str
    pieces: np.ndarray  # (piece, step), each piece summing to one
    starts: Sequence[float]  # seconds, of each piece
    piece_seconds: float


Panel = Wave | Bands | Attention


def draw(title: str, panels: Sequence[Panel]) -> "Figure":
    """All panels over one axis of seconds; waveforms share their scale, so that levels can be compared."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, TITLE_INCHES + ROW_INCHES * len(panels)), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(len(panels), 2, width_ratios=[60, 1])  # colour bars on the right
    loudest = max(
        (float(np.abs(panel.samples).max(initial=0)) for panel in panels if isinstance(panel, Wave)), default=0
    )
    first: Axes | None = None
    for row, panel in enumerate(panels):
        axes = figure.add_subplot(grid[row, 0], sharex=first)
        first = first or axes
        axes.set_title(panel.title, loc="left", fontsize="medium")
        axes.tick_params(labelbottom=row == len(panels) - 1)
        if isinstance(panel, Wave):
            _draw_wave(axes, panel, loudest)
        elif isinstance(panel, Attention):
            _draw_attention(axes, panel)
        else:
            _draw_bands(axes, figure.add_subplot(grid[row, 1]), panel)
    axes.set_xlabel("time (s)")
    axes.set_xlim(*_span(panels))
    return figure


def _span(panels: Sequence[Panel]) -> tuple[float, float]:
    """First and last second of all panels."""
    spans = []
    for panel in panels:
        if isinstance(panel, Wave):
            spans.append((panel.start, panel.start + len(panel.samples) / panel.sample_rate))
        elif isinstance(panel, Attention):
            spans.append((min(panel.starts), max(panel.starts) + panel.piece_seconds))
        else:
            length = panel.pieces.shape[-1] * panel.frame_seconds
            spans.append((min(panel.starts), max(panel.starts) + length))
    return min(first for first, _ in spans), max(last for _, last in spans)


def _draw_wave(axes: "Axes", wave: Wave, loudest: float) -> None:
    """Lowest and highest sample of each point across."""
    step = max(1, len(wave.samples) // MAX_POINTS)
    firsts = np.arange(0, len(wave.samples), step)
    low, high = np.minimum.reduceat(wave.samples, firsts), np.maximum.reduceat(wave.samples, firsts)
    seconds = wave.start + firsts / wave.sample_rate
    axes.fill_between(seconds, low, high, linewidth=0.6, color="C0", edgecolor="C0")
    limit = 1.05 * loudest or 1.0
    axes.set(ylabel="amplitude", ylim=(-limit, limit))


def _draw_attention(axes: "Axes", attention: Attention) -> None:
    """A line of steps for each piece; the dashed one is what equal weights would be."""
    n_steps = attention.pieces.shape[1]
    for index, (start, weights) in enumerate(zip(attention.starts, attention.pieces)):
        edges = start + np.linspace(0, attention.piece_seconds, n_steps + 1)
        axes.stairs(weights, edges, color=f"C{index % 2}", linewidth=1.4)  # neighbours overlap in time
    axes.axhline(1 / n_steps, color="0.6", linestyle="--", linewidth=0.8)
    axes.set(ylabel="weight", ylim=(0, 1.05 * float(attention.pieces.max())))


def _draw_bands(axes: "Axes", bar: "Axes", bands: Bands) -> None:
    """Bands lie at equal distances, as the network sees them; their frequencies stand beside them."""
    values = DECIBELS * bands.pieces.astype(np.float32)
    if bands.is_slope:
        high = max(float(np.percentile(np.abs(values), WIDEST_SLOPES)), 1e-3)
        low, colours, unit = -high, "RdBu_r", "dB a frame"
    else:
        high = float(values.max())
        low, colours, unit = max(float(values.min()), high - RANGE_DB), "magma", "level (dB)"
    n_bands, n_frames = values.shape[1:]
    for start, piece in zip(bands.starts, values):
        left = start - bands.frame_seconds / 2
        extent = (left, left + n_frames * bands.frame_seconds, -0.5, n_bands - 0.5)
        image = axes.imshow(
            piece, cmap=colours, vmin=low, vmax=high, extent=extent, origin="lower", aspect="auto", interpolation="none"
        )
    axes.figure.colorbar(image, cax=bar, label=unit)
    _tick_bands(axes, bands.band_hz)


def _tick_bands(axes: "Axes", band_hz: np.ndarray) -> None:
    """Round frequencies where they fall between the bands, as many as have room; the lowest band's where none does."""
    shown: list[float] = []
    places: list[float] = []
    for hz in (*map(float, reversed(TICKS_HZ)), float(band_hz[0])):
        place = float(np.interp(hz, band_hz, np.arange(len(band_hz))))
        has_room = not places or places[-1] - place >= len(band_hz) / MAX_TICKS
        if band_hz[0] <= hz <= band_hz[-1] and has_room:
            shown.append(hz)
            places.append(place)
    axes.set_yticks(places, [f"{hz:g}" for hz in shown])
    axes.set(ylabel="frequency (Hz)", ylim=(-0.5, len(band_hz) - 0.5))
