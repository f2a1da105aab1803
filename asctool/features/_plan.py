"""How the rows of a network's features come from a recording, from what featurize and denoise have recorded.

They may come from anybody, with a model that was handed on: sizes are bounded before anything is allocated.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from asctool import registry
from asctool.dsp import noise
from asctool.errors import DataError
from asctool.storage import audio, settings

MAX_BANDS = 4096
MAX_FRAME_SAMPLES = 1 << 20
MAX_ROW_VALUES = 1 << 26


@dataclass(frozen=True)
class Denoising:
    """How the auxiliary channel was made: the settings of the stage denoise."""

    sample_rate: int | None  # Hz; None: that of each file
    subtraction: noise.Config


@dataclass(frozen=True)
class Waveform:
    """What is common to all features of one rate: recordings that share it are resampled and denoised once."""

    sample_rate: int
    mono: bool
    denoising: Denoising | None


@dataclass(frozen=True)
class Plan:
    """How the rows of a network's features come from a recording."""

    waveform: Waveform
    name: str  # of the feature type
    config: Any  # its configuration
    segment_frames: int
    segment_hop_frames: int
    delta_width: int  # 0: no delta channels
    dtype: str
    silence_db: float | None = None  # as featurize has it

    @cached_property
    def module(self) -> Any:
        """The file of ``features/`` that computes it."""
        return registry.load("features", self.name)

    @property
    def has_bands(self) -> bool:
        """Whether rows have an axis of bands: a waveform has none."""
        return hasattr(self.config, "n_bands")

    @property
    def hop_seconds(self) -> float:
        """Time between frames."""
        return float(self.module.hop_seconds(self.waveform.sample_rate, self.config))

    @property
    def segment_seconds(self) -> float:
        """Length of a segment."""
        return self.segment_frames * self.hop_seconds


@dataclass(frozen=True)
class _Rate:
    sample_rate: int | None = None


@dataclass(frozen=True)
class _Cut:
    """What featurize does besides computing a feature, as its manifest has it."""

    sample_rate: int
    channels: Literal["mono", "own"] = "mono"
    dtype: Literal["float32", "float16", "int16"] = "float32"
    delta: bool = False
    delta_width: int = 9
    segment_frames: int | None = None
    segment_hop_frames: int | None = None
    silence_db: float | None = None


def plan_of(features: dict[str, Any], denoise: dict[str, Any] | None, row: tuple[int, ...]) -> Plan:
    """The plan that the configurations of featurize and denoise amount to, for rows (channel, ..., frame).

    Where whole clips of equal length were the rows, segments are as long as those. AsctoolError for what neither stage
    writes: the configurations may come from anybody.
    """
    rest = dict(features)
    name = rest.pop("type")
    own, config = settings.split(rest, _Cut, registry.load("features", name).Config)
    _check_size(own.sample_rate, config, row)
    config.validate(own.sample_rate)
    if own.segment_frames is None:  # rows were whole clips: nothing was cut or left out
        own = replace(own, segment_hop_frames=None, silence_db=None)
    length = own.segment_frames or row[-1]
    hop = own.segment_hop_frames or length
    bands = (config.n_bands,) if hasattr(config, "n_bands") else ()
    if length != row[-1] or bands != row[1:-1] or hop < 1 or own.delta_width < 3:
        raise DataError(f"features cut to {(*bands, length)} every {hop} frames are not the network's {row[1:]}")
    denoising = None
    if denoise is not None:
        given, subtraction = settings.split(denoise, _Rate, noise.Config)
        _check_size(given.sample_rate or own.sample_rate, subtraction, row)
        denoising = Denoising(given.sample_rate, subtraction)
    waveform = Waveform(own.sample_rate, own.channels == "mono", denoising)
    return Plan(waveform, name, config, length, hop, own.delta_width if own.delta else 0, own.dtype, own.silence_db)


def _check_size(sample_rate: int, config: Any, row: tuple[int, ...]) -> None:
    """DataError before anything is allocated that no sensible feature takes."""
    seconds = [getattr(config, name, 0.0) for name in ("frame_seconds", "hop_seconds")]
    samples = [getattr(config, name, None) or 0 for name in ("frame_samples", "hop_samples")]
    averages = [getattr(config, name, 1) for name in ("average_frames", "average_bins")]
    sizes = {
        "sample rate in Hz": (sample_rate, audio.MAX_RATE_HZ),
        "bands": (getattr(config, "n_bands", 1), MAX_BANDS),
        "samples of a frame": (max(*samples, *(value * sample_rate for value in seconds)), MAX_FRAME_SAMPLES),
        "values in a row": (math.prod(row), MAX_ROW_VALUES),
        "averaged frames or bins": (max(averages), MAX_BANDS),
    }
    for what, (value, limit) in sizes.items():
        if not 0 <= value <= limit:
            raise DataError(f"{what}: {value:g}, where {limit} are the most")
    if sample_rate < audio.MIN_RATE_HZ:
        raise DataError(f"a sample rate of {sample_rate} Hz; {audio.MIN_RATE_HZ} are the least")
