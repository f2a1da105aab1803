"""A tree in the exact layout of LITIS Rouen, of made sounds, to try the recipe on: python make_tree.py DIRECTORY

3026 clips with the corpus' names and counts, each class a tone of its own in noise; twenty random splits in the
published files' format. What is measured on it says nothing about the corpus.
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile

from asctool.corpora._litis_splits import LEARN, MATLAB, N_SPLITS, N_TRAIN, TEST
from asctool.corpora.litis import AUDIO, CLIPS_A_CLASS, N_CLIPS, RELATION

RATE = 22050  # Hz, as the corpus has it


def write_splits(root: Path, splits: str = "text", seed: int = 0) -> None:
    """``relation_wav_examples.txt`` and random splits: ``text``, ``matlab`` or ``none``."""
    names = [f"{label.replace('-', '_')}{n}" for label, count in CLIPS_A_CLASS.items() for n in range(1, count + 1)]
    random = np.random.default_rng(seed)
    random.shuffle(names)
    root.mkdir(parents=True, exist_ok=True)
    (root / RELATION).write_text("".join(f"{name}.wav\t{index}\r\n" for index, name in enumerate(names, 1)))
    indices = np.stack([random.permutation(N_CLIPS) + 1 for _ in range(N_SPLITS)])
    learn, test = indices[:, :N_TRAIN], indices[:, N_TRAIN:]
    if splits == "text":
        np.savetxt(root / LEARN, learn, fmt="%.8e")
        np.savetxt(root / TEST, test, fmt="%d")
    elif splits == "matlab":
        from scipy.io import savemat

        savemat(root / MATLAB, {"indiceMa": learn.astype(float), "indiceMt": test.astype(float)}, do_compression=True)


def write_audio(root: Path, seconds: float, seed: int = 0) -> None:
    """16-bit wav files, 22 050 Hz, mono."""
    (root / AUDIO).mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    for number, (label, count) in enumerate(CLIPS_A_CLASS.items()):
        tone_hz = 200 * 2 ** (number / 4)  # 200 Hz to 4.5 kHz
        for n in range(1, count + 1):
            tone = np.sin(2 * np.pi * (tone_hz * time * random.uniform(0.97, 1.03) + random.uniform()))
            samples = 0.01 * tone + 0.05 * random.standard_normal(len(time))
            soundfile.write(root / AUDIO / f"{label.replace('-', '_')}{n}.wav", samples, RATE, subtype="PCM_16")


def main() -> None:
    """Write the tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seconds", type=float, default=2.2, help="of a clip (default: 2.2; the corpus has 30)")
    parser.add_argument("--splits", choices=("text", "matlab", "none"), default="text")
    given = parser.parse_args()
    write_splits(given.directory, given.splits)
    write_audio(given.directory, given.seconds)


if __name__ == "__main__":
    main()
