"""Features of recordings that come in pieces, cut into segments: the same rows as featurize writes, at constant memory.

Pieces and waveforms are (channel, sample), frames (channel, band, frame), rows (segment, channel, band, frame); where
the feature is the waveform itself, samples are the frames, and there is no axis of bands. A
recording that comes in one piece is computed by the very calls of denoise and featurize, so that its rows are equal to
the bit. Longer ones carry the state of denoiser and resampler and the context of frames from piece to piece.
"""

import math
from collections.abc import Callable

import numpy as np

from asctool.dsp import noise
from asctool.dsp.delta import delta
from asctool.errors import DataError
from asctool.features._plan import Plan, Waveform
from asctool.storage import audio

CONTEXT_SECONDS = 0.5  # around a frame, besides its own length: gammatone filters at 50 Hz have rung down to 1e-16
Step = Callable[[np.ndarray, bool], np.ndarray]  # of a piece and whether it is the last, to what is ready


def channels_of(samples: np.ndarray, rate: int, plan: Waveform) -> Step:
    """What makes the waveforms of a recording like this piece, the denoised ones behind its own."""
    n_channels = 1 if plan.mono else len(samples)
    mix = audio.to_mono if plan.mono else _as_it_is
    own = _chain(_each(mix), _resampler(n_channels, rate, plan.sample_rate))
    if plan.denoising is None:
        return own
    inner = plan.denoising.sample_rate or rate
    config = plan.denoising.subtraction
    cleaned = _chain(
        _resampler(len(samples), rate, inner),
        _denoiser(len(samples), inner, config),
        _each(mix),
        _resampler(n_channels, inner, plan.sample_rate),
    )
    return _side_by_side(own, cleaned)


class Segments:
    """Rows of one recording, from the waveforms of its pieces; ``starts`` are seconds."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rate = plan.waveform.sample_rate
        self.hop = round(plan.hop_seconds * self.rate)
        self.samples: np.ndarray | None = None  # from frame `base` on
        self.base = self.done = 0  # frames
        self.context = -(-round(_context_seconds(plan) * self.rate) // self.hop)  # frames on either side
        self.slopes = _Slopes(plan.delta_width) if plan.delta_width else None
        self.cutter = _Cutter(plan.segment_frames, plan.segment_hop_frames)
        self.listener = _Listener(plan)

    @property
    def is_silent(self) -> bool:
        """Whether silence is left out and there was nothing else: then the loudest row comes at the end."""
        return self.plan.silence_db is not None and not self.listener.has_heard

    @property
    def last_cut(self) -> float:
        """Start in seconds of the last segment that was cut, silent ones too; before the first one, -inf."""
        first = self.cutter.next - self.plan.segment_hop_frames
        return first * self.plan.hop_seconds if first >= 0 else -math.inf

    def push(self, waveforms: np.ndarray, is_last: bool) -> tuple[np.ndarray, np.ndarray]:
        """Starts (row,) and rows that are complete by now."""
        frames = self._frames(waveforms, is_last)
        if self.slopes:
            frames = self.slopes.push(frames, is_last)
        starts, rows = self.cutter.push(frames, is_last)
        if self.plan.silence_db is not None:
            starts, rows = self.listener.push(starts, rows, is_last)
        rows = self.plan.module.as_int16(rows) if self.plan.dtype == "int16" else rows.astype(self.plan.dtype)
        return np.array(starts) * self.plan.hop_seconds, rows

    def _frames(self, waveforms: np.ndarray, is_last: bool) -> np.ndarray:
        joined = waveforms if self.samples is None else np.concatenate([self.samples, waveforms], 1)
        if is_last:  # a recording shorter than a segment is padded with silence before anything is computed
            need = round(self.plan.segment_seconds * self.rate) - self.base * self.hop
            joined = np.pad(joined, ((0, 0), (0, max(0, need - joined.shape[1]))))
        n_ready = joined.shape[1] // self.hop - (0 if is_last else self.context)
        first = self.done - self.base
        if not is_last and n_ready <= first:
            self.samples = joined
            bands = [self.plan.config.n_bands] if self.plan.has_bands else []
            return np.zeros((len(joined), *bands, 0), np.float32)
        array = self.plan.module.extract(joined, self.rate, self.plan.config)
        if not np.isfinite(array).all():
            raise DataError("a feature is not finite")
        ready = array[..., first:] if is_last else array[..., first:n_ready]
        self.done += ready.shape[-1]
        forgotten = max(0, self.done - self.context - self.base)
        self.samples, self.base = joined[:, forgotten * self.hop :].copy(), self.base + forgotten
        return ready


class _Slopes:
    """Frames with their deltas behind them, a few frames later."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.held: np.ndarray | None = None
        self.n_past = 0  # of those held: their slopes are out

    def push(self, frames: np.ndarray, is_last: bool) -> np.ndarray:
        joined = _joined(self.held, frames)
        half = self.width // 2
        end = joined.shape[-1] - (0 if is_last else half)
        if end <= self.n_past:
            self.held = joined
            return np.zeros((2 * len(joined), *joined.shape[1:-1], 0), np.float32)
        ready = np.concatenate([joined, delta(joined, self.width)])[..., self.n_past : end]
        forgotten = max(0, end - half)
        self.held, self.n_past = joined[..., forgotten:].copy(), end - forgotten
        return ready


class _Cutter:
    """Frames to segments as ``dsp.segments`` cuts them: the last one is aligned to the end."""

    def __init__(self, length: int, hop: int) -> None:
        self.length, self.hop = length, hop
        self.held: np.ndarray | None = None
        self.base = self.next = 0  # frames: first one held, first one of the next segment

    def push(self, frames: np.ndarray, is_last: bool) -> tuple[list[int], np.ndarray]:
        joined = _joined(self.held, frames)
        end = self.base + joined.shape[-1]
        starts = []
        while self.next + self.length < end:  # what is no further from the end may be the last one
            starts.append(self.next)
            self.next += self.hop
        if is_last:
            starts.append(max(0, end - self.length))
        rows = [joined[..., first - self.base : first - self.base + self.length] for first in starts]
        kept = max(0, min(self.next, end - self.length) - self.base)
        self.held, self.base = joined[..., kept:].copy(), self.base + kept
        shape = (0, *joined.shape[:-1], self.length)
        return starts, np.stack(rows) if rows else np.zeros(shape, np.float32)


class _Listener:
    """Segments that are not silent; of a recording that has none by its end, the loudest."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loudest: tuple[float, int, np.ndarray] | None = None  # peak, start, row, of what has been silent so far
        self.has_heard = False

    def push(self, starts: list[int], rows: np.ndarray, is_last: bool) -> tuple[list[int], np.ndarray]:
        assert self.plan.silence_db is not None
        n_heard = rows.shape[1] // (2 if self.plan.delta_width else 1)  # slopes are no powers
        kept = []
        for i, (start, row) in enumerate(zip(starts, rows)):
            peak = self.plan.module.peak_db(row[:n_heard])
            if peak > self.plan.silence_db:
                kept.append(i)
                self.has_heard = True
            elif not self.has_heard and (self.loudest is None or peak > self.loudest[0]):
                self.loudest = (peak, start, row.copy())
        if is_last and not self.has_heard and self.loudest is not None:
            return [self.loudest[1]], self.loudest[2][None]
        return [starts[i] for i in kept], rows[kept]


def _context_seconds(plan: Plan) -> float:
    samples = getattr(plan.config, "frame_samples", None)
    frame = samples / plan.waveform.sample_rate if samples else getattr(plan.config, "frame_seconds", 0.0)
    return CONTEXT_SECONDS + float(frame)


def _joined(held: np.ndarray | None, frames: np.ndarray) -> np.ndarray:
    if held is None or not held.shape[-1]:
        return frames
    return np.concatenate([held, frames], -1) if frames.shape[-1] else held


def _as_it_is(samples: np.ndarray) -> np.ndarray:
    return samples


def _each(function: Callable[[np.ndarray], np.ndarray]) -> Step:
    """A step that needs no memory."""
    return lambda samples, is_last: function(samples)


def _chain(*steps: Step) -> Step:
    def run(samples: np.ndarray, is_last: bool) -> np.ndarray:
        for step in steps:
            samples = step(samples, is_last)
        return samples

    return run


def _side_by_side(*steps: Step) -> Step:
    """Channels of several steps, as many samples as all of them have; what one is ahead by waits."""
    waiting: list[np.ndarray] = []

    def run(samples: np.ndarray, is_last: bool) -> np.ndarray:
        ready = [step(samples, is_last) for step in steps]
        if waiting:
            ready = [np.concatenate(pair, 1) for pair in zip(waiting, ready)]
        n_samples = min(part.shape[1] for part in ready)
        waiting[:] = [part[:, n_samples:] for part in ready]
        return np.concatenate([part[:, :n_samples] for part in ready])

    return run


def _resampler(n_channels: int, rate: int, new_rate: int) -> Step:
    """soxr's high-quality filter; all at once where the first piece is the last."""
    if rate == new_rate:
        return _each(_as_it_is)
    import soxr

    stream = soxr.ResampleStream(rate, new_rate, n_channels, dtype="float32", quality="HQ")
    begun: list[bool] = []

    def run(samples: np.ndarray, is_last: bool) -> np.ndarray:
        if is_last and not begun:
            return audio.resample(samples, rate, new_rate)
        begun.append(True)
        out = stream.resample_chunk(np.ascontiguousarray(samples.T), last=is_last)
        return np.ascontiguousarray(out.reshape(-1, n_channels).T)

    return run


def _denoiser(n_channels: int, rate: int, config: noise.Config) -> Step:
    streams = [noise.Subtraction(rate, config) for _ in range(n_channels)]
    begun: list[bool] = []

    def run(samples: np.ndarray, is_last: bool) -> np.ndarray:
        if is_last and not begun:
            return noise.subtract(samples, rate, config)
        begun.append(True)
        parts = [stream.push(channel) for stream, channel in zip(streams, samples)]
        if is_last:
            parts = [np.concatenate([part, stream.finish()]) for part, stream in zip(parts, streams)]
        return np.stack(parts)

    return run
