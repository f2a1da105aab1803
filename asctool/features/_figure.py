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
ROW_INCHES, WIDTH_INCHES, TITLE_INCHES, LINE_INCHES = 1.9, 10.0, 0.6, 0.2
NARROWEST_GAP = 0.005  # of the axis: what lacks to a whole frame at the end of a clip is none


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


def draw(title: str, panels: Sequence[Panel], seconds: float = 0.0, gap: str = "no segment") -> "Figure":
    """All panels over one axis of seconds; waveforms share their scale, so that levels can be compared.

    The axis is as long as the clip (``seconds``) at least; where segments leave some of it out, ``gap`` says why.
    """
    from matplotlib.figure import Figure

    title_inches = TITLE_INCHES + LINE_INCHES * len(title.splitlines())
    figure = Figure(figsize=(WIDTH_INCHES, title_inches + ROW_INCHES * len(panels)), layout="constrained")
    figure.suptitle(title)
    grid = figure.add_gridspec(len(panels), 2, width_ratios=[60, 1])  # colour bars on the right
    loudest = max(
        (float(np.abs(panel.samples).max(initial=0)) for panel in panels if isinstance(panel, Wave)), default=0
    )
    span = _span(panels, seconds)
    first: Axes | None = None
    for row, panel in enumerate(panels):
        axes = figure.add_subplot(grid[row, 0], sharex=first)
        first = first or axes
        axes.set_title(panel.title, loc="left", fontsize="medium")
        axes.tick_params(labelbottom=row == len(panels) - 1)
        if isinstance(panel, Wave):
            _draw_wave(axes, panel, loudest)
            continue
        for place in _gaps(panel, span):
            axes.axvspan(*place, facecolor="0.93", edgecolor="0.8", hatch="//", linewidth=0, label=gap)
            gap = "_"  # is told once
        if isinstance(panel, Attention):
            _draw_attention(axes, panel)
        else:
            _draw_bands(axes, figure.add_subplot(grid[row, 1]), panel)
        if axes.get_legend_handles_labels()[0]:  # beside the title of the panel, where nothing is drawn
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize="small", frameon=False)
    axes.set_xlabel("time (s)")
    axes.set_xlim(*span)
    return figure


def _span(panels: Sequence[Panel], seconds: float) -> tuple[float, float]:
    """First and last second of all panels and of a clip of so many seconds."""
    spans = [(0.0, seconds)] if seconds else []
    for panel in panels:
        if isinstance(panel, Wave):
            spans.append((panel.start, panel.start + len(panel.samples) / panel.sample_rate))
        else:
            spans.append((min(panel.starts), max(panel.starts) + _length(panel)))
    return min(first for first, _ in spans), max(last for _, last in spans)


def _length(panel: Bands | Attention) -> float:
    """Seconds of a piece."""
    if isinstance(panel, Attention):
        return panel.piece_seconds
    return float(panel.pieces.shape[-1] * panel.frame_seconds)


def _gaps(panel: Bands | Attention, span: tuple[float, float]) -> list[tuple[float, float]]:
    """What no piece covers of the axis."""
    found, reached = [], span[0]
    for start in (*sorted(panel.starts), span[1]):
        if start - reached > NARROWEST_GAP * (span[1] - span[0]):
            found.append((reached, start))
        reached = max(reached, start + _length(panel))
    return found


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
    """The mean over the pieces that lie over each other; behind it the pieces, and what equal weights would be."""
    n_pieces, n_steps = attention.pieces.shape
    edges, mean, n_covering = _mean_over_pieces(attention)
    overlap = n_covering.max() > 1
    if overlap:
        for index, (own, weights) in enumerate(zip(_edges(attention), attention.pieces)):
            label = "_" if index else f"each of {n_pieces} segments"
            axes.stairs(weights, own, baseline=None, color="C0", alpha=0.45, linewidth=0.9, label=label)
    label = "mean over segments" if overlap else "weights"
    axes.stairs(mean, edges, baseline=None, color="C3", linewidth=1.8, label=label)
    axes.axhline(1 / n_steps, color="0.4", linestyle="--", linewidth=0.8, label="equal weights")
    axes.set(ylabel="weight", ylim=(0, 1.05 * float(attention.pieces.max())))


def _edges(attention: Attention) -> np.ndarray:
    """Seconds at which the steps of each piece begin, and its last one ends: (piece, step + 1)."""
    offsets = np.linspace(0, attention.piece_seconds, attention.pieces.shape[1] + 1)
    edges: np.ndarray = np.round(np.add.outer(np.asarray(attention.starts), offsets), 9)  # so that neighbours meet
    return edges


def _mean_over_pieces(attention: Attention) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (interval + 1,), mean weight and number of the pieces that cover each interval; nan where there is none."""
    of_pieces = _edges(attention)
    edges = np.unique(of_pieces)
    total, n_covering = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1, int)
    for own, weights in zip(of_pieces, attention.pieces):
        places = np.searchsorted(edges, own)
        total[places[0] : places[-1]] += np.repeat(weights, np.diff(places))
        n_covering[places[0] : places[-1]] += 1
    return edges, np.where(n_covering, total / np.maximum(n_covering, 1), np.nan), n_covering


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
