"""What a reader hands to prep.

A corpus file holds ``Config``, a frozen dataclass of its options, and ``read(source, config)``, which looks at the
layout, the counts and the names, and leaves the audio to prep. All it finds wrong goes into one DataError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asctool.errors import DataError
from asctool.storage.dataset import Clip, FoldRow


@dataclass(frozen=True)
class Corpus:
    """A corpus as its reader found it; durations may be 0.0 where only decoding tells them."""

    name: str
    licence: str
    clips: tuple[Clip, ...]  # their paths absolute
    folds: tuple[FoldRow, ...]  # empty where the corpus has none
    classes: tuple[str, ...]  # their order is the class index
    official_folds: bool  # published with the corpus: kept even where they leak
    fold_note: str  # where the folds come from, one line
    warnings: tuple[str, ...]


def refuse(source: Path, problems: Sequence[str]) -> None:
    """Raise a DataError that lists every problem; do nothing where there is none."""
    if len(problems) == 1:
        raise DataError(f"{source}: {problems[0]}")
    if problems:
        raise DataError("\n  ".join([f"{source}: {len(problems)} problems:", *problems]))


def existing_directory(source: Path) -> Path:
    """The source as an absolute path; DataError where it is no directory."""
    if not source.is_dir():
        raise DataError(f"{source}: {'not a directory' if source.exists() else 'there is no such directory'}")
    return source.resolve()
