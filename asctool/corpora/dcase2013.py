"""Scenes of DCASE 2013 (Giannoulis et al.): 100 stereo clips of 30 s, ten scenes around London, ten clips a scene.

``{scene}{NN}.wav``, flat, in ``scenes_stereo/`` (development) or ``scenes_stereo_testset/`` (evaluation). No folds were
published with it: prep makes five, and says so.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asctool.corpora import _published
from asctool.corpora._corpus import Corpus, existing_directory, refuse
from asctool.corpora._names import shortened
from asctool.errors import DataError, UsageError
from asctool.storage.dataset import Clip
from asctool.storage.download import Archive

CLASSES = (
    *("bus", "busystreet", "office", "openairmarket", "park"),
    *("quietstreet", "restaurant", "supermarket", "tube", "tubestation"),
)
LICENCE = "see its page, https://archive.org/details/dcase2013_scene_classification"
FOLDERS = {"development": "scenes_stereo", "evaluation": "scenes_stereo_testset"}
NAME = re.compile(r"([a-z]+)(\d\d)\.wav")
N_PER_CLASS = 10


@dataclass(frozen=True)
class Config:
    """Options of the reader."""

    dataset: Literal["development", "evaluation"] = "development"
    allow_partial: bool = False  # warn of clips that are not there instead of refusing


def read(source: Path, config: Config) -> Corpus:
    """The folder with the clips, or the one around it. A clip is a group of its own: its place is not told."""
    root = _root(existing_directory(source), FOLDERS[config.dataset])
    names = sorted(path.name for path in root.iterdir() if path.suffix.lower() == ".wav" and path.name[0] != ".")
    found = {name: match[1] for name in names if (match := NAME.fullmatch(name)) and match[1] in CLASSES}
    unknown = [name for name in names if name not in found]
    refuse(source, [f"{name!r} is no name of the form scene01.wav with one of its ten scenes" for name in unknown])
    wrong = _published.count_problems(Counter(found.values()), dict.fromkeys(CLASSES, N_PER_CLASS))
    hint = f"{N_PER_CLASS} clips a scene were published; unpack the archive again, or {_published.PARTIAL}"
    refuse(source, [hint, *wrong] if wrong and not config.allow_partial else [])
    clips = tuple(
        Clip(Path(name).stem, str(root / name), (scene,), f"{config.dataset}/{Path(name).stem}", 0.0)
        for name, scene in found.items()
    )
    warnings = (f"not {N_PER_CLASS} clips in every scene: {shortened(wrong)}",) if wrong else ()
    return Corpus("dcase2013", LICENCE, clips, (), CLASSES, False, "", warnings)


def archives(config: Config) -> tuple[Archive, ...]:
    """The archive of archive.org, size and md5 as in dcase_util/datasets/dcase2013.py; UsageError for the test set."""
    address = "https://archive.org/download/dcase2013_scene_classification"
    if config.dataset == "evaluation":
        raise UsageError(
            f"no md5 of scenes_stereo_testset.zip is known, so it is not fetched; download {address}_testset/"
            "scenes_stereo_testset.zip by hand, unpack it into SOURCE and leave out --download"
        )
    return (Archive(f"{address}/scenes_stereo.zip", "abdefde136d84de33b0f20a0f13a6b97", 361_748_263),)


def _root(source: Path, folder: str) -> Path:
    """Where clips lie: in the folder of that name, else in the source itself."""
    for root in (source / folder, source):
        if root.is_dir() and any(NAME.fullmatch(path.name) for path in root.iterdir()):
            return root
    raise DataError(f"{source}: no clips such as bus01.wav in it, nor in a folder {folder}/")
