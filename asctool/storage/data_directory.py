"""The data directory that prep writes: tables, what is known of the corpus, the hash of every audio file."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from asctool.errors import IntegrityError
from asctool.storage import atomic, locks, manifest
from asctool.storage.dataset import Clip, Tables, encode_tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import read_tables

DESCRIPTION = "dataset.json"
COUNTS = ("sample_rate", "channels")
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class DataDirectory:
    """A data directory, opened for reading."""

    path: Path

    def __post_init__(self) -> None:
        locks.hold(self.path, self)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What made it."""
        return manifest.read(self.path, "data")

    @cached_property
    def tables(self) -> Tables:
        """Clips, folds and classes."""
        return read_tables(self._file, self.path)

    @cached_property
    def description(self) -> dict[str, Any]:
        """``dataset.json``: name, licence, counts, sample rates, hashes of the files, how the folds were made."""
        try:
            found = json.loads(self._file(DESCRIPTION))
            for path, entry in found["files"].items():
                if not isinstance(entry["sha256"], str) or not all(type(entry[name]) is int for name in COUNTS):
                    raise ValueError(f"of {path}")
            return dict(found)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{self.path / DESCRIPTION}: cannot be read ({error}); run prep again") from error

    @property
    def dataset(self) -> dict[str, str]:
        """Name and licence, which whatever was trained on it carries on."""
        return {name: str(self.description.get(name, "")) for name in ("name", "licence")}

    def audio(self, clip: Clip) -> Path:
        """Where a clip's audio lies; a relative path is relative to this directory."""
        return self.path / clip.path

    @property
    def witnesses(self) -> tuple[Path, ...]:
        """Files that a machine must see to work on this: the manifest and, if it is there, the first recording."""
        recordings = [self.audio(clip) for clip in self.tables.clips[:1]]
        return (self.path / manifest.NAME, *(path.absolute() for path in recordings if path.is_file()))

    def audio_hash(self, clip: Clip) -> str:
        """sha256 of a clip's audio file, as prep found it."""
        return str(self._audio_file(clip)["sha256"])

    def quick_hash(self, clip: Clip) -> str | None:
        """xxh3_128 of the same file; None where prep wrote none yet."""
        return self._audio_file(clip).get("xxh3_128")

    def sample_rate(self, clip: Clip) -> int:
        """Hz, as prep found it."""
        return int(self._audio_file(clip)["sample_rate"])

    def channels(self, clip: Clip) -> int:
        """Channels of the file, as prep found it."""
        return int(self._audio_file(clip)["channels"])

    def content(self) -> str:
        """Hash of which piece of which sound each clip is, all that the audio stages use: no labels, no folds."""
        rows = [[c.clip_id, c.start, c.duration, self.audio_hash(c)] for c in self.tables.clips]
        return manifest.content_hash(json.dumps(rows))

    def _audio_file(self, clip: Clip) -> dict[str, Any]:
        found: dict[str, Any] | None = self.description["files"].get(clip.path)
        if found is None:
            raise IntegrityError(f"{self.path / DESCRIPTION}: knows nothing of {clip.path!r}; run prep again")
        return found

    def _file(self, name: str) -> bytes:
        if name not in self.manifest["files"]:
            raise IntegrityError(f"{self.path}: has no {name}; run prep again")
        return manifest.read_file(self.path, name, self.manifest["files"][name])


def write(
    path: Path,
    recipe: Recipe,
    tables: Tables,
    description: dict[str, Any],
    files: Mapping[str, bytes] | None = None,
    **more: Any,
) -> None:
    """Write the tables, the description and further files, the manifest last; under ``locks.writer_lock``."""
    described = (json.dumps(description, indent=1, ensure_ascii=False) + "\n").encode()
    files = {**encode_tables(tables), DESCRIPTION: described, **(files or {})}
    manifest.commit(path, manifest.describe(recipe, rows=len(tables.clips), **more), files)


def check_audio(data: DataDirectory, clip: Clip, thoroughly: bool = False) -> Path:
    """The path of a clip's audio, once its bytes are those that prep saw; IntegrityError otherwise.

    A hash of 128 bits tells any change but one that was made to be hidden from it; sha256 tells that one too.
    """
    path = data.audio(clip)
    if not path.is_file():
        raise IntegrityError(f"{path}: is gone since prep; run prep again, with --force where the recordings now lie")
    quick = None if thoroughly else data.quick_hash(clip)
    if atomic.quick_hash(path) != quick if quick else atomic.sha256_file(path) != data.audio_hash(clip):
        raise IntegrityError(f"{path}: has changed since prep; run prep again with --force")
    return path


def warn_of_low_rates(data: DataDirectory, wanted: int) -> None:
    """Where only some recordings end below the bands that are asked for, a network can learn which those are."""
    rates = [data.sample_rate(clip) for clip in data.tables.clips]
    low = [rate for rate in rates if rate < wanted]
    if 0 < len(low) < len(rates):
        log.warning(
            "%d of %d clips were recorded below sample_rate=%d (the lowest at %d Hz): their upper bands are empty, "
            "which can give a class away",
            *(len(low), len(rates), wanted, min(low)),
        )
