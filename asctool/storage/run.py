"""A run: the folder in which a network is trained. Checkpoints carry their own hash in their names."""

import csv
import hashlib
import io
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asctool.errors import IntegrityError
from asctool.storage import atomic, manifest
from asctool.storage.manifest import Recipe
from asctool.storage.store import read_verified

log = logging.getLogger("asctool")

MODEL = "model.pt"
HISTORY = "history.csv"
KEPT = 2  # checkpoints
_NAME = re.compile(r"checkpoint-(\d{6})-([0-9a-f]{12})-([0-9a-f]{16})\.pt")


class RunWriter:
    """A run being written; use under ``atomic.writer_lock``."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self.directory = directory
        self.recipe = recipe

    def checkpoint(self, epoch: int, data: bytes) -> None:
        """Write a checkpoint and drop all but the last two."""
        sha256 = hashlib.sha256(data).hexdigest()
        atomic.write_bytes(
            self.directory / f"checkpoint-{epoch:06d}-{self.recipe.fingerprint[:12]}-{sha256[:16]}.pt", data
        )
        for _, path in self._checkpoints()[KEPT:]:
            path.unlink(missing_ok=True)

    def last_checkpoint(self) -> bytes | None:
        """The newest whole checkpoint of this recipe; a damaged one is passed over with a warning."""
        for _, path in self._checkpoints():
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest().startswith(path.stem.rpartition("-")[2]):
                return data
            log.warning("%s: is damaged; going on from the checkpoint before it", path)
        return None

    def discard(self) -> None:
        """Forget all checkpoints of this recipe."""
        for _, path in self._checkpoints():
            path.unlink(missing_ok=True)

    def finish(self, model: bytes, files: Mapping[str, bytes], **more: Any) -> None:
        """Write the selected weights and all else, the manifest last; drop checkpoints of other recipes."""
        hashes = {
            name: atomic.write_bytes(self.directory / name, data) for name, data in {**files, MODEL: model}.items()
        }
        manifest.write(self.directory, manifest.describe(self.recipe, files=hashes, **more))
        for path in self.directory.glob("checkpoint-*.pt"):
            if self.recipe.fingerprint[:12] not in path.name:
                path.unlink()

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """Checkpoints of this recipe, newest first."""
        found = []
        for path in self.directory.glob("checkpoint-*.pt"):
            match = _NAME.fullmatch(path.name)
            if match and match[2] == self.recipe.fingerprint[:12]:
                found.append((int(match[1]), path))
        return sorted(found, reverse=True)


class Run:
    """A finished run, opened for reading."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.manifest = manifest.read(self.directory, "run")

    @property
    def config(self) -> dict[str, Any]:
        """Model, its configuration, training settings, fold."""
        return dict(self.manifest["config"])

    @property
    def content(self) -> str:
        """Hash of the weights."""
        return str(self.manifest["content"])

    def model(self) -> bytes:
        """The file of the selected weights."""
        return self.read_file(MODEL)

    def read_file(self, name: str) -> bytes:
        """A file of the run, checked against the manifest."""
        if name not in self.manifest["files"]:
            raise IntegrityError(f"{self.directory}: has no {name}")
        return read_verified(self.directory / name, self.manifest["files"][name])


def encode_history(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """``history.csv``: a row an epoch."""
    if not rows:
        return b""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
