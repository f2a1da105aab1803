"""The sounds of the synthetic corpus: textures, which last, and events, which come and go. Arrays of (sample,)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TEXTURES = ("hiss", "rumble", "hum", "gusts")
EVENTS = ("rise", "fall", "knock", "bell")
EVENT_SECONDS = 0.25
EVENTS_PER_SECOND = 1.5  # of each kind
EVENT_LEVELS_DB = (-2.0, 10.0)  # re the textures, as energy over the event's length
TEXTURE_LEVELS_DB = (-14.0, 0.0)
FLOOR_DB = -6.0  # pink noise in every scene, re the louder texture at most
TILT_DB_PER_OCTAVE = 2.5  # tone colour of a recording, up or down at most
LEVELS_DB = (-32.0, -20.0)  # of a clip, re full scale


@dataclass(frozen=True)
class Recording:
    """What the clips of one recording share."""

    tilt_db_per_octave: float
    texture_levels_db: tuple[float, float]
    hum_hz: float
    gusts_hz: float  # rate at which the gusts swell
    hiss_hz: float  # where the hiss begins
    event_hz: float  # centre of all events


def draw_recording(generator: np.random.Generator) -> Recording:
    """Draw a recording."""
    low, high = generator.uniform(*TEXTURE_LEVELS_DB, 2)
    return Recording(
        tilt_db_per_octave=generator.uniform(-TILT_DB_PER_OCTAVE, TILT_DB_PER_OCTAVE),
        texture_levels_db=(low, high),
        hum_hz=generator.uniform(80, 160),
        gusts_hz=generator.uniform(0.4, 1.2),
        hiss_hz=generator.uniform(800, 2400),
        event_hz=generator.uniform(700, 1800),
    )


def mix(
    textures: Sequence[str],
    events: Sequence[str],
    recording: Recording,
    n_samples: int,
    sample_rate: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """One clip, within -1 and 1: its textures, a floor of pink noise, its events at random times, one tone colour."""
    out = _power(FLOOR_DB) * shaped_noise(n_samples, sample_rate, lambda hz: hz**-0.5, generator)
    for name, level in zip(textures, recording.texture_levels_db):
        out += _power(level) * texture(name, recording, n_samples, sample_rate, generator)
    for name in events:
        for _ in range(generator.poisson(EVENTS_PER_SECOND * n_samples / sample_rate)):
            sound = event(name, recording.event_hz * generator.uniform(0.8, 1.25), sample_rate, generator)
            sound = _power(generator.uniform(*EVENT_LEVELS_DB)) * sound
            start = int(generator.integers(-len(sound) + 1, n_samples))
            inside = sound[max(0, -start) : n_samples - start]
            out[max(0, start) : max(0, start) + len(inside)] += inside
    tilt = recording.tilt_db_per_octave / 20 * np.log2(10)  # exponent of the frequency
    out = unit(_filtered(out, sample_rate, lambda hz: hz**tilt)) * _power(generator.uniform(*LEVELS_DB))
    return out / max(1.0, float(np.abs(out).max()))


def texture(
    name: str, recording: Recording, n_samples: int, sample_rate: int, generator: np.random.Generator
) -> np.ndarray:
    """A texture of unit power."""
    seconds = np.arange(n_samples) / sample_rate
    if name == "hiss":
        edge = recording.hiss_hz
        return shaped_noise(n_samples, sample_rate, lambda hz: 1 / (1 + (edge / hz) ** 2), generator)
    if name == "rumble":
        return shaped_noise(n_samples, sample_rate, lambda hz: 1 / (1 + (hz / 120) ** 1.5), generator)
    if name == "hum":
        harmonics = np.arange(1, max(2, min(24, int(0.45 * sample_rate / recording.hum_hz))))
        amplitudes = np.exp(2j * np.pi * generator.uniform(size=len(harmonics))) / harmonics**0.7
        turns = np.exp(2j * np.pi * recording.hum_hz * seconds)  # its k-th power is the k-th harmonic
        return unit(np.polyval([*amplitudes[::-1], 0], turns).imag)
    swell = 1 + 0.9 * np.sin(2 * np.pi * (recording.gusts_hz * seconds + generator.uniform()))
    return unit(swell**2 * shaped_noise(n_samples, sample_rate, lambda hz: 1 / (1 + (hz / 500) ** 1.2), generator))


def event(name: str, centre_hz: float, sample_rate: int, generator: np.random.Generator) -> np.ndarray:
    """An event of unit power over its length; a rise and a fall sweep the same octave."""
    seconds = np.arange(round(EVENT_SECONDS * sample_rate)) / sample_rate
    share = seconds / EVENT_SECONDS
    if name in ("rise", "fall"):
        octaves = share - 0.5 if name == "rise" else 0.5 - share
        return unit(np.sin(2 * np.pi * np.cumsum(centre_hz * 2**octaves) / sample_rate) * np.sin(np.pi * share))
    if name == "knock":
        noise = shaped_noise(
            len(seconds), sample_rate, lambda hz: 1 / (1 + (np.log2(hz / centre_hz) / 0.4) ** 2), generator
        )
        return unit(noise * np.exp(-seconds / 0.02))
    partials = [np.sin(2 * np.pi * centre_hz * ratio * seconds) for ratio in (0.75, 1.0, 1.34)]
    return unit(np.sum(partials, axis=0) * np.exp(-seconds / 0.08))


def shaped_noise(
    n_samples: int, sample_rate: int, gain: Callable[[np.ndarray], np.ndarray], generator: np.random.Generator
) -> np.ndarray:
    """Gaussian noise of unit power whose amplitude over frequency (Hz) follows ``gain``."""
    return unit(_filtered(generator.standard_normal(n_samples), sample_rate, gain))


def unit(samples: np.ndarray) -> np.ndarray:
    """The same sound with a mean power of one."""
    return samples / max(float(np.sqrt(np.mean(samples**2))), 1e-12)


def _filtered(samples: np.ndarray, sample_rate: int, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    # Below 40 Hz all gains stay what they are at 40: powers of the frequency have no end at 0.
    hz = np.maximum(np.fft.rfftfreq(len(samples), 1 / sample_rate), 40.0)
    return np.fft.irfft(np.fft.rfft(samples) * gain(hz), len(samples))


def _power(level_db: float) -> float:
    return float(10 ** (level_db / 20))
