"""Recordings as a network of somebody else's takes them: pieces of sound one by one, from data or from waveforms."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np

from asctool.errors import DataError, IntegrityError
from asctool.storage import audio, manifest
from asctool.storage.data_directory import DataDirectory, check_audio
from asctool.storage.dataset import Tables
from asctool.storage.shards import Columns, plan_shards
from asctool.storage.store import Store

PART_BYTES = 32 << 20  # of sound: so much work is done again after a kill
FULL_SCALE = 32768  # of waveforms in int16


@dataclass(frozen=True)
class Recording:
    """A clip, or a segment of one."""

    clip_id: str
    start: float  # seconds into the clip
    samples: np.ndarray  # (channel, sample) float32, full scale 1
    rate: int  # Hz


@dataclass(frozen=True)
class OfData:
    """The clips of a data directory, whole."""

    data: DataDirectory

    @property
    def tables(self) -> Tables:
        """Clips, folds and classes."""
        return self.data.tables

    @property
    def content(self) -> str:
        """Hash of all sound."""
        return self.data.content()

    @cached_property
    def plan(self) -> list[tuple[int, int]]:
        """Ranges of clips that are worked on together."""
        sizes = [int(4 * clip.duration * self.data.sample_rate(clip)) for clip in self.tables.clips]
        return plan_shards(sizes, PART_BYTES)

    @cached_property
    def rates(self) -> set[int]:
        """Hz, all that there are."""
        return {self.data.sample_rate(clip) for clip in self.tables.clips}

    def read(self, part: int) -> Iterator[Recording]:
        """The recordings of a part, in the order of the clips."""
        for clip in self.tables.clips[slice(*self.plan[part])]:
            yield Recording(clip.clip_id, 0.0, *audio.read(check_audio(self.data, clip), clip.start, clip.duration))


@dataclass(frozen=True)
class OfStore:
    """The rows of a waveform store."""

    store: Store

    def __post_init__(self) -> None:
        if self.store.config.get("pre_emphasis"):
            raise DataError(f"{self.store.directory}: is pre-emphasised, which is no sound; give the data directory")

    @property
    def tables(self) -> Tables:
        """Clips, folds and classes."""
        return self.store.tables

    @property
    def content(self) -> str:
        """Hash of all rows."""
        return self.store.content

    @cached_property
    def plan(self) -> list[tuple[int, int]]:
        """Ranges of rows that are worked on together: those of a few shards."""
        ends = [0, *accumulate(entry["rows"] for entry in self.store.manifest["shards"])]
        return [(ends[first], ends[end]) for first, end in self._shards]

    @cached_property
    def _shards(self) -> list[tuple[int, int]]:
        sizes = [(self.store.directory / entry["file"]).stat().st_size for entry in self.store.manifest["shards"]]
        return plan_shards(sizes, PART_BYTES)

    @cached_property
    def rates(self) -> set[int]:
        """Hz, all that there are."""
        return {int(rate) for columns in self.store.shards(("clip_id", "sample_rate")) for rate in self._rates(columns)}

    def read(self, part: int) -> Iterator[Recording]:
        """The recordings of a part, in the order of the rows."""
        for columns in self.store.shards(among=slice(*self._shards[part])):
            scale = np.float32(1 / FULL_SCALE if columns["array"].dtype == np.int16 else 1)
            ends = columns["offset"] + columns["length"]
            rows = zip(columns["clip_id"].tolist(), columns["start"], columns["offset"], ends, self._rates(columns))
            for clip_id, start, first, end, rate in rows:
                samples = columns["array"][first:end].T.astype(np.float32) * scale
                yield Recording(clip_id, float(start), samples, int(rate))

    def _rates(self, columns: Columns) -> np.ndarray:
        """Of each row: what denoise wrote beside it, or the rate that featurize gave all."""
        if "sample_rate" in columns:
            return columns["sample_rate"]
        rate = self.store.config.get("sample_rate")
        if not isinstance(rate, int):
            raise IntegrityError(f"{self.store.directory}: does not say its sample rate; make it again")
        return np.full(len(columns["clip_id"]), rate)


def open_recordings(path: Path, verify: bool = True) -> OfData | OfStore:
    """A data directory, or a store of waveforms; DataError for anything else."""
    if manifest.read(path, "data", "waveform")["kind"] == "data":
        return OfData(DataDirectory(path))
    return OfStore(Store(path, "waveform", verify=verify))
