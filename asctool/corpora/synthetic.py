"""A corpus made up from a seed: six scenes, each a pair of textures and a pair of events.

There are four textures and four events, and a scene for every pair: each component sounds in three scenes, so that
nothing but the mixture tells them apart. A rising and a falling sweep have one mean spectrum: time has to be heard too.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asctool.corpora._corpus import Corpus
from asctool.corpora._synthesis import Recording, draw_recording, mix
from asctool.errors import UsageError
from asctool.storage import atomic
from asctool.storage.dataset import Clip

SCENES = {
    "harbour": (("rumble", "gusts"), ("rise", "fall")),
    "kitchen": (("hum", "hiss"), ("knock", "bell")),
    "park": (("gusts", "hiss"), ("rise", "bell")),
    "station": (("rumble", "hum"), ("fall", "bell")),
    "street": (("rumble", "hiss"), ("rise", "knock")),
    "workshop": (("gusts", "hum"), ("fall", "knock")),
}  # textures, events
LICENCE = "CC0 (made by asctool)"


@dataclass(frozen=True)
class Config:
    """Size and sound of the corpus."""

    n_clips_per_class: int = 10
    n_recordings_per_class: int = 5  # clips of one recording share pitches, tone colour and levels
    seconds: float = 5.0
    sample_rate: int = 22050  # Hz
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_recordings_per_class <= self.n_clips_per_class:
            choices = f"from 1 to n_clips_per_class={self.n_clips_per_class}"
            raise UsageError(f"n_recordings_per_class={self.n_recordings_per_class}: {choices}")
        if self.seconds <= 0:
            raise UsageError(f"seconds={self.seconds}: above 0")
        if not 8000 <= self.sample_rate <= 192000:
            raise UsageError(f"sample_rate={self.sample_rate}: from 8000 to 192000 Hz")


def read(source: Path, config: Config) -> Corpus:
    """Write the recordings as 16-bit wav below ``source``, a folder a scene; files that are there already are kept."""
    atomic.make_directory(source)
    for scene in SCENES:
        atomic.make_directory(source / scene)
    clips = _clips(source, config)
    for clip in clips:
        content = _encode(_synthesise(clip, config), config.sample_rate)
        if not _is_there(clip, content):
            atomic.write_bytes(Path(clip.path), content)
    return Corpus("synthetic", LICENCE, tuple(clips), (), tuple(SCENES), False, "", ())


def would_write(source: Path, config: Config) -> int:
    """Bytes of the recordings that ``read`` would write first, for a dry run, which must not."""
    clips = _clips(source, config)
    contents = ((clip, _encode(_synthesise(clip, config), config.sample_rate)) for clip in clips)
    return sum(len(content) for clip, content in contents if not _is_there(clip, content))


def _clips(source: Path, config: Config) -> list[Clip]:
    numbers = range(config.n_clips_per_class)
    return [_clip(source.resolve(), scene, number, config) for scene in SCENES for number in numbers]


def _clip(source: Path, scene: str, number: int, config: Config) -> Clip:
    recording = f"{scene}-{number % config.n_recordings_per_class:03d}"
    clip_id = f"{recording}-{number // config.n_recordings_per_class:03d}"
    duration = _n_samples(config) / config.sample_rate
    return Clip(clip_id, str(source / scene / f"{clip_id}.wav"), (scene,), recording, duration)


def _synthesise(clip: Clip, config: Config) -> np.ndarray:
    recording: Recording = draw_recording(_generator(config.seed, clip.group))
    textures, events = SCENES[clip.labels[0]]
    generator = _generator(config.seed, clip.clip_id)
    return mix(textures, events, recording, _n_samples(config), config.sample_rate, generator)


def _n_samples(config: Config) -> int:
    return max(1, round(config.seconds * config.sample_rate))


def _generator(seed: int, name: str) -> np.random.Generator:
    words = np.frombuffer(hashlib.sha256(f"{seed} {name}".encode()).digest(), "<u4")
    return np.random.default_rng(words)


def _encode(samples: np.ndarray, sample_rate: int) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, np.round(samples * 32767).astype(np.int16), sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _is_there(clip: Clip, content: bytes) -> bool:
    path = Path(clip.path)
    return path.is_file() and path.read_bytes() == content
