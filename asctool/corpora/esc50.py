"""ESC-50 (Piczak 2015): 2000 clips of 5 s, 50 classes, 5 official folds."""

from dataclasses import dataclass
from pathlib import Path

from asctool.corpora import _esc
from asctool.corpora._corpus import Corpus
from asctool.storage.download import Archive

LICENCE = "CC BY-NC 3.0"


@dataclass(frozen=True)
class Config:
    """Options of the reader."""

    allow_partial: bool = False  # warn of clips that are not there instead of refusing


def read(source: Path, config: Config) -> Corpus:
    """The tree with audio/ and meta/esc50.csv, or an older release with a folder a class."""
    return _esc.read(source, "esc50", LICENCE, range(len(_esc.CLASSES)), config.allow_partial)


def archives(config: Config) -> tuple[Archive, ...]:
    """The archive of ESC-50."""
    return (_esc.ARCHIVE,)
