"""featurize: clips to segments of log-mel, log-gammatone or waveform, with the channels that were asked for."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from asctool import parallel, registry
from asctool.dsp import segments
from asctool.dsp.delta import delta, delta_batch
from asctool.errors import DataError, UsageError
from asctool.storage import audio, manifest, parts, rebuild, settings
from asctool.storage.data_directory import DataDirectory, check_audio, warn_of_low_rates
from asctool.storage.dataset import Clip
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.rehearsal import Estimate
from asctool.storage.shards import Columns, ShardWriter, Written, plan_shards
from asctool.storage.store import Store, StoreWriter, check_output, update_tables

if TYPE_CHECKING:
    import torch

VERSION = 1
BATCH_SAMPLES = 1 << 23  # on a device at once: 32 MiB of samples, some 0.3 GB of spectra


@dataclass(frozen=True)
class Settings:
    """What featurize does besides computing a feature."""

    sample_rate: int  # Hz; no default, for a wrong one is silently wrong
    segment_frames: int | None = None  # None: the feature's own (80 frames; whole clips for waveform)
    segment_hop_frames: int | None = None  # None: as long as a segment
    silence_db: float | None = None  # re full scale; segments without a band above it are left out
    channels: Literal["mono", "own"] = "mono"  # mono: the mean of a recording's channels
    delta_width: int = 9  # frames of the regression
    dtype: Literal["float32", "float16", "int16"] = "float32"  # as stored; int16: waveforms, of full scale 32768

    def __post_init__(self) -> None:
        if not audio.MIN_RATE_HZ <= self.sample_rate <= audio.MAX_RATE_HZ:
            raise UsageError(
                f"sample_rate={self.sample_rate} Hz: {audio.MIN_RATE_HZ} to {audio.MAX_RATE_HZ} are possible"
            )
        for name in ("segment_frames", "segment_hop_frames"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: must be 1 at least")
        if self.silence_db is not None and not -math.inf < self.silence_db <= 0:
            raise UsageError(f"silence_db={self.silence_db}: dB re full scale, 0 at most")
        if self.delta_width < 3 or self.delta_width % 2 == 0:
            raise UsageError(f"delta_width={self.delta_width}: must be odd, 3 at least")


@dataclass(frozen=True)
class Feature:
    """A feature type with its configuration."""

    name: str
    config: Any

    @cached_property
    def module(self) -> Any:
        """The file of ``features/`` that computes it."""
        return registry.load("features", self.name)


def configure(name: str, values: dict[str, Any]) -> tuple[Settings, Feature]:
    """The settings of the stage and of a feature type, from one mapping of names."""
    own, config = settings.split(values, Settings, registry.load("features", name).Config)
    config.validate(own.sample_rate)
    if own.dtype == "int16" and name != "waveform":
        raise UsageError(f"dtype=int16 is for waveforms; {name} is stored as float32 or float16")
    frames = registry.load("features", name).SEGMENT_FRAMES
    own = replace(own, segment_frames=own.segment_frames or frames)
    if own.segment_frames is None and (own.segment_hop_frames or own.silence_db is not None):
        raise UsageError(
            "segment_hop_frames and silence_db are for segments, and rows are whole clips: set segment_frames"
        )
    return replace(own, segment_hop_frames=own.segment_hop_frames or own.segment_frames), Feature(name, config)


def choose_device(name: str, own: Settings, feature: Feature) -> "torch.device | None":
    """The CUDA device on which torch computes; None for NumPy: ``cpu``, and ``auto`` where CUDA is of no use."""
    if name == "cpu":
        return None
    from asctool.training import devices

    device = devices.choose(name)
    if name == "auto" and device.type != "cpu":
        try:
            _try(device, own, feature)
        except UsageError:  # this feature knows NumPy only
            return None
    return None if device.type == "cpu" else device


def _try(device: "torch.device", own: Settings, feature: Feature) -> None:
    """Let the feature say whether torch can compute it."""
    import torch

    if not hasattr(feature.module, "extract_batch"):
        raise UsageError(f"--device {device}: {feature.name} has nothing to compute there; use --device cpu")
    feature.module.extract_batch(torch.zeros(1, own.sample_rate, device=device), own.sample_rate, feature.config)


def featurize(
    data_directory: Path,
    output: Path,
    own: Settings,
    feature: Feature,
    denoised: Path | None = None,
    with_delta: bool = False,
    jobs: int | None = None,
    force: bool = False,
    progress: parallel.Progress | None = None,
    device: "torch.device | None" = None,
    dry_run: bool = False,
    scheduler: str | None = None,
    part: Part | None = None,
) -> bool | None:
    """Write the features of all clips; False when they are there already (labels and folds are brought up to date).

    None while parts of an array job that are not this one are yet to be written.
    The device is no part of the fingerprint: it changes the last bits, as another processor or FFT does, so that a
    store may be begun on one and finished on the other. ``made_by`` in the manifest names it with the command.
    """
    data_directory, output = data_directory.resolve(), output.resolve()  # processes may stand elsewhere
    denoised = denoised.resolve() if denoised else None
    data = DataDirectory(data_directory)
    check_output(output, data_directory, *([denoised] if denoised else []))
    if with_delta and feature.name == "waveform":
        raise UsageError("--delta is for spectrograms; a waveform has none")
    if device is not None:
        _try(device, own, feature)
    recipe = _recipe(data, own, feature, denoised, with_delta)
    work = _Work(data_directory, ShardWriter(output, "", 0), (), own, feature, denoised, with_delta, device)
    clips = data.tables.clips
    warn_of_low_rates(data, own.sample_rate)
    sizes = [work.n_bytes(clip) for clip in clips]
    plan = plan_shards(sizes)
    if rebuild.settled(output, recipe, force, dry_run, lambda: Estimate.of(data.tables, sizes, plan), part):
        return update_tables(output, data.tables, "featurize", dry_run, part)
    made_from = {"data": data_directory} | ({"denoised": denoised} if denoised else {})
    with parts.writer(output, recipe, part):
        writer = StoreWriter(output, recipe, len(plan), force)
        work = replace(work, shards=writer.shards, plan=tuple(plan))
        how = parallel.How(jobs if device is None else 1, scheduler, part, progress=progress or parallel.Silent())
        files = [parts.mark(output, part), *data.witnesses]
        files += [denoised / manifest.NAME] if denoised else []
        parallel.make_shards(work, writer, plan, f"featurize {feature.name}", how, files)
        paths = {name: manifest.relative(path, output) for name, path in made_from.items()}
        more = _describe(own, feature, work) | {"paths": paths}
        return parts.finish(output, part, len(plan), writer.shards.absent, lambda: writer.finish(data.tables, **more))


def _recipe(data: DataDirectory, own: Settings, feature: Feature, denoised: Path | None, with_delta: bool) -> Recipe:
    inputs = {"data": data.content()}
    if denoised:
        store = Store(denoised, "waveform")
        if store.manifest["stage"] != "denoise":
            raise DataError(
                f"{denoised}: was written by {store.manifest['stage']}; --denoised takes what denoise wrote"
            )
        if store.manifest["inputs"].get("data") != inputs["data"]:
            raise DataError(f"{denoised}: was made from other clips than {data.path} holds; run denoise again")
        inputs["denoised"] = store.content
    config = {"type": feature.name, **settings.as_dict(own), "delta": with_delta, **settings.as_dict(feature.config)}
    kind = "waveform" if feature.name == "waveform" else "feature"
    return Recipe(kind, "featurize", VERSION, config, inputs)


def _describe(own: Settings, feature: Feature, work: "_Work") -> dict[str, Any]:
    axes = ["sample", "channel"] if feature.name == "waveform" else ["channel", "band", "frame"]
    hop = feature.module.hop_seconds(own.sample_rate, feature.config)
    more = {"axes": axes, "frame_seconds": hop, "channels": work.channel_names(), "dataset": work.data.dataset}
    more["denoise"] = work.denoised.config if work.denoised else None
    if hasattr(feature.module, "band_frequencies"):
        frequencies = feature.module.band_frequencies(own.sample_rate, feature.config)
        more["band_hz"] = [round(float(hz), 3) for hz in frequencies]
    return more


@dataclass(frozen=True)
class _Work:
    """Makes one shard; travels to the processes that do."""

    data_directory: Path
    shards: ShardWriter
    plan: tuple[tuple[int, int], ...]
    own: Settings
    feature: Feature
    denoised_path: Path | None
    with_delta: bool
    device: "torch.device | None"  # None: NumPy

    @cached_property
    def data(self) -> DataDirectory:
        return DataDirectory(self.data_directory)

    @cached_property
    def denoised(self) -> Store | None:
        return Store(self.denoised_path, "waveform") if self.denoised_path else None

    def __call__(self, index: int) -> Written:
        clips = self.data.tables.clips[slice(*self.plan[index])]
        return self.shards.write(index, self._columns(clips))

    def channel_names(self) -> list[str]:
        """What each channel of a row holds, from the first clip's number of channels."""
        n_own = 1 if self.own.channels == "mono" else self.data.channels(self.data.tables.clips[0])
        names = ["recording"] if n_own == 1 else [f"recording {i + 1}" for i in range(n_own)]
        names += [name.replace("recording", "denoised") for name in names] if self.denoised_path else []
        return names + ([f"delta of {name}" for name in names] if self.with_delta else [])

    def n_bytes(self, clip: Clip) -> int:
        """Bytes that the rows of a clip take."""
        item = np.dtype(self.own.dtype).itemsize
        n_samples = round(clip.duration * self.own.sample_rate)
        frames = self.feature.module.frame_count(n_samples, self.own.sample_rate, self.feature.config)
        per_frame = len(self.channel_names()) * getattr(self.feature.config, "n_bands", 1)
        if self.own.segment_frames is None:
            return frames * per_frame * item
        assert self.own.segment_hop_frames is not None
        n_segments = len(segments.starts(frames, self.own.segment_frames, self.own.segment_hop_frames))
        return n_segments * self.own.segment_frames * per_frame * item

    def _columns(self, clips: Sequence[Clip]) -> Columns:
        rows = [self._segments(array) for array in self._arrays(clips)]
        parts = [part for _, parts in rows for part in parts]
        columns = {
            "clip_id": np.repeat([clip.clip_id for clip in clips], [len(starts) for starts, _ in rows]),
            "start": np.concatenate([starts for starts, _ in rows]),
        }
        if self.feature.name != "waveform":
            return columns | {"array": np.stack(parts, dtype=self.own.dtype, casting="same_kind")}
        lengths = np.array([part.shape[1] for part in parts])
        if self.own.dtype == "int16":
            parts = [self.feature.module.as_int16(part) for part in parts]
        joined = np.concatenate([part.T for part in parts], dtype=self.own.dtype, casting="same_kind")
        return columns | {"array": joined, "offset": np.cumsum(lengths) - lengths, "length": lengths}

    def _segments(self, array: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Start of each segment in seconds, and views of (channel, ..., frame)."""
        length, hop = self.own.segment_frames, self.own.segment_hop_frames
        if length is None or hop is None:
            return np.zeros(1), [array]
        starts = segments.starts(array.shape[-1], length, hop)
        seconds = np.array(starts) * self.feature.module.hop_seconds(self.own.sample_rate, self.feature.config)
        rows = segments.cut(array, length, hop)
        if self.own.silence_db is None:
            return seconds, rows
        heard = len(array) // (2 if self.with_delta else 1)  # channels; slopes behind them are no powers
        peaks = np.array([self.feature.module.peak_db(row[:heard]) for row in rows])
        kept = segments.audible(peaks, self.own.silence_db)
        return seconds[kept], [rows[i] for i in kept]

    def _samples(self, clip: Clip) -> np.ndarray:
        """All channels of a clip at the wanted rate: (channel, sample)."""
        samples, rate = audio.read(check_audio(self.data, clip), clip.start, clip.duration)
        channels = [self._at_rate(samples, rate, clip)]
        if self.denoised is not None:
            cleaned = self.denoised.clip(clip.clip_id).T
            rates = self.denoised.manifest["config"]["sample_rate"] or rate
            channels.append(self._at_rate(cleaned, rates, clip))
        if len(channels) == 1:
            return self._padded(channels[0])
        n_samples = min(part.shape[1] for part in channels)
        return self._padded(np.concatenate([part[:, :n_samples] for part in channels]))

    def _at_rate(self, samples: np.ndarray, rate: int, clip: Clip) -> np.ndarray:
        if self.own.channels == "mono":
            samples = audio.to_mono(samples)
        elif len(samples) != self.data.channels(self.data.tables.clips[0]):
            raise DataError(f"{clip.path}: has {len(samples)} channels, unlike the first clip; use --set channels=mono")
        return audio.resample(samples, rate, self.own.sample_rate)

    def _padded(self, samples: np.ndarray) -> np.ndarray:
        """A clip shorter than a segment is padded with silence before anything is computed."""
        if self.own.segment_frames is None:
            return samples
        hop = self.feature.module.hop_seconds(self.own.sample_rate, self.feature.config)
        lacking = round(self.own.segment_frames * hop * self.own.sample_rate) - samples.shape[1]
        return np.pad(samples, ((0, 0), (0, lacking))) if lacking > 0 else samples

    def _arrays(self, clips: Sequence[Clip]) -> Iterator[np.ndarray]:
        """Features of whole clips, one after the other; on a device in batches of neighbours of one length."""
        if self.device is None:
            yield from (self._array(self._samples(clip)) for clip in clips)
            return
        batch: list[np.ndarray] = []
        for samples in map(self._samples, clips):
            full = batch and sum(part.size for part in batch) + samples.size > BATCH_SAMPLES
            if full or (batch and batch[0].shape != samples.shape):
                yield from self._batch(batch)
                batch = []
            batch.append(samples)
        yield from self._batch(batch)

    def _array(self, samples: np.ndarray) -> np.ndarray:
        array = self.feature.module.extract(samples, self.own.sample_rate, self.feature.config)
        if not np.isfinite(array).all():
            raise DataError("a feature is not finite")
        return np.concatenate([array, delta(array, self.own.delta_width)]) if self.with_delta else array

    def _batch(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """The same in torch: equal clips (channel, sample) to (clip, channel, band, frame)."""
        import torch

        joined = torch.from_numpy(np.concatenate(clips)).to(self.device)
        array = self.feature.module.extract_batch(joined, self.own.sample_rate, self.feature.config)
        array = array.reshape(len(clips), -1, *array.shape[1:])
        if not bool(torch.isfinite(array).all()):
            raise DataError("a feature is not finite")
        if self.with_delta:
            array = torch.cat([array, delta_batch(array, self.own.delta_width)], dim=1)
        return np.asarray(array.cpu())
