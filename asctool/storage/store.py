"""Stores: rows of arrays in HDF5 shards, with the tables of the corpus beside them.

Rows come in clip order. Columns of a shard: ``clip_id`` and ``start`` (seconds) of each row, ``array``; where rows
have unequal lengths ``array`` holds them end to end along its first axis, and ``offset`` and ``length`` cut them out.
Rows of trained things also have ``fold``, ``subset`` and ``system``; soft targets are a column ``target``.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError, IntegrityError, UsageError
from asctool.storage import atomic, manifest
from asctool.storage.dataset import Tables, decode_tables, encode_tables
from asctool.storage.manifest import Recipe

KINDS = ("waveform", "feature", "embedding", "tag", "attention", "posterior")
SHARD_BYTES = 16 << 20  # small enough that a kill costs seconds, large enough that a million clips make few files
Columns = dict[str, np.ndarray]
_verified: set[tuple[str, str]] = set()


def plan_shards(clip_bytes: Sequence[int], shard_bytes: int = SHARD_BYTES) -> list[tuple[int, int]]:
    """Ranges of clips that make a shard each, from the bytes that each clip will take; the same however many jobs."""
    ranges, first, size = [], 0, 0
    for index, need in enumerate(clip_bytes):
        if size and size + need > shard_bytes:
            ranges.append((first, index))
            first, size = index, 0
        size += need
    return [*ranges, (first, len(clip_bytes))] if len(clip_bytes) else []


@dataclass(frozen=True)
class ShardWriter:
    """Writes whole shards of one store; small, so that it travels to other processes and machines."""

    directory: Path
    fingerprint: str
    n_shards: int

    def path(self, index: int) -> Path:
        """Number, total and fingerprint in the name: a shard of an older store is never taken for a new one."""
        return self.directory / f"shard-{index:05d}-of-{self.n_shards:05d}-{self.fingerprint[:12]}.h5"

    def missing(self) -> list[int]:
        """Shards that are yet to be written."""
        return [index for index in range(self.n_shards) if not self.path(index).is_file()]

    def write(self, index: int, columns: Columns) -> None:
        """Write one shard; ``clip_id`` may be a list of str, all columns but a ragged ``array`` have a row each."""
        atomic.write_bytes(self.path(index), encode_shard(columns))


class StoreWriter:
    """One store being written: what is missing of it, and the manifest at the end. Use under ``atomic.writer_lock``."""

    def __init__(self, directory: Path, recipe: Recipe, n_shards: int) -> None:
        self.directory = directory
        self.recipe = recipe
        self.shards = ShardWriter(directory, recipe.fingerprint, n_shards)

    def finish(self, tables: Tables, files: Mapping[str, bytes] | None = None, **more: Any) -> None:
        """Write tables and further files, then the manifest; remove the shards of an older store."""
        paths = [self.shards.path(index) for index in range(self.shards.n_shards)]
        entries, hashes = [], hashlib.sha256()
        for path in paths:
            data = path.read_bytes()
            columns = decode_shard(data, names=("clip_id", "row_hash"))
            ids = list(dict.fromkeys(columns["clip_id"].tolist()))
            hashes.update(columns["row_hash"].tobytes())
            sha256 = hashlib.sha256(data).hexdigest()
            ends = {"first_clip": ids[0], "last_clip": ids[-1]} if ids else {}
            entries.append({"file": path.name, "sha256": sha256, "rows": len(columns["clip_id"]), **ends})
        body = {
            "rows": sum(entry["rows"] for entry in entries),
            "content": hashes.hexdigest(),
            "shards": entries,
            "files": write_files(self.directory, {**encode_tables(tables), **(files or {})}),
        }
        manifest.write(self.directory, manifest.describe(self.recipe, **body, **more))
        for old in set(self.directory.glob("shard-*.h5")) - set(paths):
            old.unlink()


def write_files(directory: Path, files: Mapping[str, bytes]) -> dict[str, str]:
    """Write small files whole; their sha256 by name."""
    return {name: atomic.write_bytes(directory / name, data) for name, data in files.items()}


def write_rows(
    directory: Path,
    recipe: Recipe,
    tables: Tables,
    columns: Columns,
    files: Mapping[str, bytes] | None = None,
    **more: Any,
) -> None:
    """Write a store of equally shaped rows that are at hand, cut into shards between clips; under ``writer_lock``."""
    ids = columns["clip_id"]
    firsts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, int)
    ends = np.append(firsts[1:], len(ids))
    row_bytes = sum(column[:1].nbytes for column in columns.values())
    plan = plan_shards([int(n) * row_bytes for n in ends - firsts])
    writer = StoreWriter(directory, recipe, len(plan))
    for index, (first, end) in enumerate(plan):
        rows = slice(firsts[first], ends[end - 1])
        writer.shards.write(index, {name: column[rows] for name, column in columns.items()})
    writer.finish(tables, files, **more)


def encode_shard(columns: Columns) -> bytes:
    """A shard as the bytes of an HDF5 file, built in memory: a full disk never meets HDF5 itself."""
    import h5py

    columns = dict(columns)
    columns["clip_id"] = _to_bytes(columns["clip_id"])
    for name in ("subset", "system"):
        if name in columns:
            columns[name] = _to_bytes(columns[name])
    columns["row_hash"] = _row_hashes(columns)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in sorted(columns):
            file.create_dataset(name, data=columns[name], track_times=False)
    return buffer.getvalue()


def decode_shard(data: bytes, names: Sequence[str] | None = None) -> Columns:
    """The columns of a shard (all, or those named that it has); texts come as str."""
    import h5py

    with h5py.File(io.BytesIO(data), "r") as file:
        out = {name: file[name][...] for name in (names or list(file)) if name in file}
    return {name: np.char.decode(v, "utf-8") if v.dtype.kind == "S" else v for name, v in out.items()}


class Store:
    """A finished store, opened for reading; every shard's hash is checked before HDF5 sees it, once a process."""

    def __init__(self, directory: Path, *kinds: str, verify: bool = True) -> None:
        self.directory = Path(directory)
        self.manifest = manifest.read(self.directory, *(kinds or KINDS))
        self.verify = verify

    @property
    def kind(self) -> str:
        """waveform, feature, embedding, tag, attention or posterior."""
        return str(self.manifest["kind"])

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the stage that wrote it."""
        return dict(self.manifest["config"])

    @property
    def feature_config(self) -> dict[str, Any]:
        """How its features were computed: its own configuration, or that of the store whose rows were mixed."""
        return dict(self.manifest.get("feature_config", self.manifest["config"]))

    @property
    def content(self) -> str:
        """Hash of all rows, whatever shards they lie in."""
        return str(self.manifest["content"])

    @cached_property
    def tables(self) -> Tables:
        """Clips, folds and classes."""
        return decode_tables({name: self.read_file(name) for name in ("clips.csv", "folds.csv", "classes.txt")})

    def read_file(self, name: str) -> bytes:
        """A file beside the shards, checked against the manifest."""
        if name not in self.manifest["files"]:
            raise DataError(f"{self.directory}: has no {name}")
        return read_verified(self.directory / name, self.manifest["files"][name], self.verify)

    def shards(self, names: Sequence[str] | None = None) -> Iterator[Columns]:
        """The columns of one shard after the other, at the memory of one."""
        for entry in self.manifest["shards"]:
            yield self._shard(entry, names)

    def columns(self, *names: str) -> Columns:
        """Whole columns (all rows), joined over the shards; not for a ragged ``array``."""
        parts = list(self.shards(names))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

    def clip(self, clip_id: str) -> np.ndarray:
        """The array of a clip in a ragged store, (length, ...)."""
        entry = self._entry_of_clip.get(clip_id)
        if entry is None:
            raise DataError(f"{self.directory}: holds no clip {clip_id!r}")
        if self._cached is None or self._cached[0] != entry["file"]:
            self._cached = (entry["file"], self._shard(entry, None))
        columns = self._cached[1]
        row = int(np.flatnonzero(columns["clip_id"] == clip_id)[0])
        offset, length = int(columns["offset"][row]), int(columns["length"][row])
        return columns["array"][offset : offset + length]

    _cached: tuple[str, Columns] | None = None

    @cached_property
    def _entry_of_clip(self) -> dict[str, dict[str, Any]]:
        order = [clip.clip_id for clip in self.tables.clips]
        place = {clip_id: i for i, clip_id in enumerate(order)}
        out = {}
        for entry in self.manifest["shards"]:
            for clip_id in order[place[entry["first_clip"]] : place[entry["last_clip"]] + 1]:
                out[clip_id] = entry
        return out

    def _shard(self, entry: Mapping[str, Any], names: Sequence[str] | None) -> Columns:
        data = read_verified(self.directory / entry["file"], entry["sha256"], self.verify)
        columns = decode_shard(data, names)
        rows = next((len(v) for name, v in columns.items() if name != "array"), entry["rows"])
        if rows != entry["rows"]:
            raise IntegrityError(f"{self.directory / entry['file']}: {rows} rows where {entry['rows']} are promised")
        return columns


def read_verified(path: Path, sha256: str, verify: bool = True) -> bytes:
    """The bytes of a file whose hash is known; IntegrityError when it is missing or was changed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{path}: is missing; make it again with --force") from error
    except OSError as error:
        raise atomic.environment_failure(error, path) from error
    key = (str(path), sha256)
    if verify and key not in _verified:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise IntegrityError(f"{path}: is not what was written (its hash differs); make it again with --force")
        _verified.add(key)
    return data


def check_output(output: Path, *inputs: Path) -> None:
    """An output that is one of the inputs is a slip."""
    for path in inputs:
        if output.resolve() == path.resolve():
            raise UsageError(f"{output}: is input and output at once")


def _to_bytes(values: np.ndarray | Sequence[str]) -> np.ndarray:
    encoded = [str(value).encode() for value in values]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def _row_hashes(columns: Columns) -> np.ndarray:
    """(row, 16) bytes: a hash of all that a row holds, so that parts of stores can be compared."""
    n_rows = len(columns["clip_id"])
    plain = {name: v for name, v in sorted(columns.items()) if name not in ("offset", "row_hash")}
    out = np.zeros((n_rows, 16), np.uint8)
    for row in range(n_rows):
        digest = hashlib.blake2b(digest_size=16)
        for name, values in plain.items():
            if name == "array" and "offset" in columns:
                part = values[columns["offset"][row] : columns["offset"][row] + columns["length"][row]]
            else:
                part = values[row]
            digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
        out[row] = np.frombuffer(digest.digest(), np.uint8)
    return out
