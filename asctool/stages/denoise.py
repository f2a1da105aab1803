"""denoise: every clip without its stationary noise, as a waveform store (the auxiliary channel of Phan 2019)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asctool import parallel
from asctool.dsp import noise
from asctool.storage import audio, manifest, parts, rebuild, settings
from asctool.storage.data_directory import DataDirectory, check_audio
from asctool.storage.dataset import Clip
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.rehearsal import Estimate
from asctool.storage.shards import Columns, ShardWriter, Written, plan_shards
from asctool.storage.store import StoreWriter, check_output, update_tables

VERSION = 1


@dataclass(frozen=True)
class Settings:
    """Minimum statistics (Martin 2001) and spectral subtraction; see ``asctool.dsp.noise``."""

    sample_rate: int | None = None  # Hz; None: that of each file


def configure(values: dict[str, Any]) -> tuple[Settings, noise.Config]:
    """The settings of the stage and of the subtraction, from one mapping of names."""
    own, config = settings.split(values, Settings, noise.Config)
    return own, config


def denoise(
    data_directory: Path,
    output: Path,
    own: Settings,
    config: noise.Config,
    jobs: int | None = None,
    force: bool = False,
    progress: parallel.Progress | None = None,
    dry_run: bool = False,
    scheduler: str | None = None,
    part: Part | None = None,
) -> bool | None:
    """Write the denoised waveforms of all clips; False when they are there already, None while other parts are not.

    Labels and folds that changed bring the tables up to date and leave the waveforms.
    """
    data_directory, output = data_directory.resolve(), output.resolve()  # processes may stand elsewhere
    data = DataDirectory(data_directory)
    check_output(output, data_directory)
    recipe = Recipe(
        "waveform",
        "denoise",
        VERSION,
        {**settings.as_dict(own), **settings.as_dict(config)},
        {"data": data.content()},
    )
    clips = data.tables.clips
    sizes = [_n_bytes(data, index, own) for index in range(len(clips))]
    plan = plan_shards(sizes, apart=[data.channels(clip) for clip in clips])
    if rebuild.settled(output, recipe, force, dry_run, lambda: Estimate.of(data.tables, sizes, plan), part):
        return update_tables(output, data.tables, "denoise", dry_run, part)
    with parts.writer(output, recipe, part):
        writer = StoreWriter(output, recipe, len(plan), force)
        work = _Work(data_directory, writer.shards, tuple(plan), own, config)
        how = parallel.How(jobs, scheduler, part, progress=progress or parallel.Silent())
        files = (parts.mark(output, part), *data.witnesses)
        parallel.make_shards(work, writer, plan, "denoise", how, files)
        rates = sorted({own.sample_rate or data.sample_rate(clip) for clip in clips})
        paths = {"data": manifest.relative(data_directory, output)}
        more: dict[str, Any] = {"axes": ["sample", "channel"], "sample_rates": rates, "paths": paths}
        return parts.finish(output, part, len(plan), writer.shards.absent, lambda: writer.finish(data.tables, **more))


def _n_bytes(data: DataDirectory, index: int, own: Settings) -> int:
    clip = data.tables.clips[index]
    return int(clip.duration * (own.sample_rate or data.sample_rate(clip)) * data.channels(clip) * 4)


@dataclass(frozen=True)
class _Work:
    """Makes one shard; travels to the processes that do."""

    data_directory: Path
    shards: ShardWriter
    plan: tuple[tuple[int, int], ...]
    own: Settings
    config: noise.Config

    @cached_property
    def data(self) -> DataDirectory:
        return DataDirectory(self.data_directory)

    def __call__(self, index: int) -> Written:
        clips = self.data.tables.clips[slice(*self.plan[index])]
        return self.shards.write(index, self._columns(clips))

    def _columns(self, clips: Sequence[Clip]) -> Columns:
        parts = [self._clip(clip) for clip in clips]
        lengths = np.array([len(samples) for samples, _ in parts])
        return {
            "clip_id": np.array([clip.clip_id for clip in clips]),
            "start": np.zeros(len(clips)),
            "sample_rate": np.array([rate for _, rate in parts]),
            "array": np.concatenate([samples for samples, _ in parts]),
            "offset": np.cumsum(lengths) - lengths,
            "length": lengths,
        }

    def _clip(self, clip: Clip) -> tuple[np.ndarray, int]:
        samples, rate = audio.read(check_audio(self.data, clip), clip.start, clip.duration)
        if self.own.sample_rate:
            samples, rate = audio.resample(samples, rate, self.own.sample_rate), self.own.sample_rate
        return noise.subtract(samples, rate, self.config).T, rate
