"""A tree laid out as the scenes of DCASE 2013, of made sounds: python make_tree.py DIR [SECONDS]

A scene is stereo noise with a spectrum of its own and a tone that comes and goes; clips differ in level, spectrum and
pitch, and neighbouring scenes overlap. It is for trying the recipe: what is measured on it says nothing of real scenes.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

from asctool.corpora.dcase2013 import CLASSES

RATE_HZ = 44_100
N_CLIPS = 10  # a scene


def make_clip(scene: int, rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Samples (sample, channel): noise falling by a scene's slope, and a tone of its own pitch, twice a second."""
    n = int(seconds * RATE_HZ)
    frequencies = np.fft.rfftfreq(n, 1 / RATE_HZ).clip(20)
    slope = 0.2 + 0.12 * scene + rng.normal(0, 0.1)
    spectrum = np.fft.rfft(rng.normal(size=(2, n))) * (frequencies / 1000) ** -slope
    noise = np.fft.irfft(spectrum, n)
    pitch_hz = 300 * 2 ** (scene / 3 + rng.normal(0, 0.1))
    time = np.arange(n) / RATE_HZ
    tone = np.sin(2 * np.pi * pitch_hz * time) * (np.sin(2 * np.pi * 2 * time) > 0.6)
    samples = noise / noise.std() + 0.5 * tone
    return 0.1 * 10 ** rng.uniform(-0.3, 0.3) * samples.T


def main(folder: Path, seconds: float) -> None:
    """Write the hundred clips, 16 bits, as scenes_stereo/{scene}{NN}.wav."""
    (folder / "scenes_stereo").mkdir(parents=True, exist_ok=True)
    for scene, name in enumerate(CLASSES):
        for number in range(1, N_CLIPS + 1):
            samples = make_clip(scene, np.random.default_rng([scene, number]), seconds)
            soundfile.write(folder / "scenes_stereo" / f"{name}{number:02d}.wav", samples, RATE_HZ, subtype="PCM_16")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 30.0)
