"""A run: the folder in which a network is trained. Checkpoints carry their own hash in their names."""

import csv
import io
import logging
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asctool.errors import IntegrityError
from asctool.storage import atomic, locks, manifest, rebuild
from asctool.storage.manifest import Recipe

log = logging.getLogger("asctool")

MODEL = "model.pt"
HISTORY = "history.csv"
EVENTS = "events.out.tfevents.history"  # the same for TensorBoard, which goes by the middle of the name
KEPT = 2  # checkpoints
TOLD = {"model": str, "fold": int, "classes": list, "features": dict, "content": str, "protocol": dict}
HASH_DIGITS = 16  # of a checkpoint's sha256 in its name
_NAME = re.compile(r"checkpoint-(\d{6})-([0-9a-f]{12})-([0-9a-f]{16})\.pt")


class RunWriter:
    """A run being written; use under ``locks.writer_lock``."""

    def __init__(self, directory: Path, recipe: Recipe) -> None:
        self.directory = directory
        self.recipe = recipe
        self.tag = recipe.fingerprint

    def discard(self) -> None:
        """Go on from no checkpoint of before; only from those of the same forced rebuild."""
        self.tag = rebuild.tag(self.directory, self.recipe)

    def checkpoint(self, epoch: int, data: bytes) -> None:
        """Write a checkpoint and drop all but the last two."""
        name = f"checkpoint-{epoch:06d}-{self.tag[:12]}-{atomic.sha256(data)[:HASH_DIGITS]}.pt"
        atomic.write_bytes(self.directory / name, data, "checkpoint")
        for path in self._checkpoints()[KEPT:]:
            path.unlink(missing_ok=True)

    def show(self, files: Mapping[str, bytes]) -> None:
        """What a training under way has come to; not over the files of a finished run, which are still being read."""
        if not (self.directory / manifest.NAME).is_file():
            for name, data in files.items():
                atomic.write_bytes(self.directory / name, data)

    def last_checkpoint(self) -> bytes | None:
        """The newest whole checkpoint of this recipe; a damaged one is removed with a warning."""
        for path in self._checkpoints():
            if path.is_file():
                data = atomic.read_bytes(path)
                if atomic.sha256(data)[:HASH_DIGITS] == path.stem.rpartition("-")[2]:
                    check_archive(path, data)
                    return data
            log.warning("%s: is damaged; going on from the checkpoint before it, or from the beginning", path)
            path.unlink()
        return None

    def finish(self, model: bytes, files: Mapping[str, bytes], **more: Any) -> None:
        """Write the selected weights and all else, the manifest last; drop checkpoints of other recipes."""
        manifest.commit(self.directory, manifest.describe(self.recipe, **more), {**files, MODEL: model})
        for path in self.directory.glob("checkpoint-*.pt"):
            if f"-{self.tag[:12]}-" not in path.name:
                path.unlink()

    def _checkpoints(self) -> list[Path]:
        """Checkpoints of this recipe, newest first."""
        found = []
        for path in self.directory.glob("checkpoint-*.pt"):
            match = _NAME.fullmatch(path.name)
            if match and match[2] == self.tag[:12]:
                found.append(path)
        return sorted(found, reverse=True)


class Run:
    """A finished run, opened for reading."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        locks.hold(self.directory, self)
        self.manifest = manifest.read(self.directory, "run")
        told = {**self.manifest["config"], **{name: self.manifest.get(name) for name in ("content", "protocol")}}
        for name, kind in TOLD.items():
            if not isinstance(told.get(name), kind):
                raise IntegrityError(f"{self.directory}: its manifest has no {name}; train it again")

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
        data = self.read_file(MODEL)
        check_archive(self.directory / MODEL, data)
        return data

    def read_file(self, name: str) -> bytes:
        """A file of the run, checked against the manifest."""
        if name not in self.manifest["files"]:
            raise IntegrityError(f"{self.directory}: has no {name}")
        return manifest.read_file(self.directory, name, self.manifest["files"][name])


def check_archive(path: Path, data: bytes) -> None:
    """IntegrityError for a file of weights that unpacks to more than it is: torch writes its archives uncompressed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise IntegrityError(f"{path}: is no file of weights ({error})") from error
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > len(data):
        raise IntegrityError(f"{path}: unpacks to more than its {len(data)} bytes; asctool writes no such file")


def encode_history(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """``history.csv``: a row an epoch."""
    if not rows:
        return b""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
