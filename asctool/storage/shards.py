"""Shards: rows of arrays in one HDF5 file, named by what they are part of and by their content.

Columns: ``clip_id`` and ``start`` (seconds) of each row, ``array``; where rows have unequal lengths ``array`` holds
them end to end along its first axis, and ``offset`` and ``length`` cut them out. Rows of trained things also have
``fold``, ``subset`` and ``system``; soft targets are a column ``target``.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from asctool.storage import arrays, atomic

SHARD_BYTES = 16 << 20  # small enough that a kill costs seconds, large enough that a million clips make few files
HASH_DIGITS = 16  # of a shard's sha256 in its name
Columns = dict[str, np.ndarray]
log = logging.getLogger("asctool")


def plan_shards(
    clip_bytes: Sequence[int], shard_bytes: int = SHARD_BYTES, *, apart: Sequence[object] = ()
) -> list[tuple[int, int]]:
    """Ranges of clips that make a shard each, from the bytes that each clip will take; the same however many jobs.

    Neighbours that differ in what ``apart`` has of each clip, such as the number of channels, share no shard.
    """
    ranges, first, size = [], 0, 0
    for index, need in enumerate(clip_bytes):
        differs = bool(apart) and index > 0 and apart[index] != apart[index - 1]
        if differs or (size and size + need > shard_bytes):
            ranges.append((first, index))
            first, size = index, 0
        size += need
    return [*ranges, (first, len(clip_bytes))] if len(clip_bytes) else []


def first_rows(clip_ids: np.ndarray) -> np.ndarray:
    """Where the rows of each clip begin."""
    return np.flatnonzero(np.r_[True, clip_ids[1:] != clip_ids[:-1]]) if len(clip_ids) else np.zeros(0, int)


class Written(NamedTuple):
    """A whole shard: what the manifest says of it, and the hashes of its rows."""

    entry: dict[str, Any]
    row_hashes: bytes


@dataclass(frozen=True)
class ShardWriter:
    """Writes whole shards of one store; small, so that it travels to other processes and machines."""

    directory: Path
    tag: str  # the fingerprint of the recipe, or what stands for a forced rebuild
    n_shards: int

    def whole(self, paths: Sequence[Path]) -> Path | None:
        """Of the files of a shard one that is whole; a damaged one is removed with a warning.

        Number, total, tag and content in the name: a shard of another store, or one that was changed since it was
        written, is never taken for it.
        """
        for path in paths:
            if path.is_file() and atomic.sha256_file(path)[:HASH_DIGITS] == path.stem.rpartition("-")[2]:
                return path
            log.warning("%s: is damaged; it is made again", path)
            path.unlink()
        return None

    def missing(self, among: Sequence[int] | None = None) -> list[int]:
        """Shards (all, or some of them) that are yet to be written."""
        files = self.files()
        return [i for i in (range(self.n_shards) if among is None else among) if not self.whole(files.get(i, []))]

    def absent(self) -> list[int]:
        """Shards without a file, be it whole or not: a look at the directory, which is quick."""
        files = self.files()
        return [index for index in range(self.n_shards) if index not in files]

    def files(self) -> dict[int, list[Path]]:
        """The files of each shard, from one look at the directory: one for each shard takes hours for many shards."""
        found: dict[int, list[Path]] = {}
        for path in sorted(self.directory.glob(f"shard-*-of-{self.n_shards:05d}-{self.tag[:12]}-*.h5")):
            number = path.name.split("-")[1]
            if number.isdecimal():
                found.setdefault(int(number), []).append(path)
        return found

    def write(self, index: int, columns: Columns) -> Written:
        """Write one shard; ``clip_id`` may be a list of str, all columns but a ragged ``array`` have a row each.

        Its name is as durable as the store, by the manifest: until then the shard may be made again.
        """
        columns = _encodable(columns)
        data = arrays.encode(columns)
        sha256 = atomic.sha256(data)
        name = f"{self._stem(index)}-{sha256[:HASH_DIGITS]}.h5"
        atomic.write_bytes(self.directory / name, data, "shard", sync_name=False)
        return describe(name, sha256, _decoded(columns))

    def _stem(self, index: int) -> str:
        return f"shard-{index:05d}-of-{self.n_shards:05d}-{self.tag[:12]}"


def encode_shard(columns: Columns) -> bytes:
    """A shard as the bytes of an HDF5 file, built in memory: a full disk never meets HDF5 itself."""
    return arrays.encode(_encodable(columns))


def _encodable(columns: Columns) -> Columns:
    """The columns of a shard as HDF5 holds them: texts as bytes, and the hashes of the rows."""
    columns = dict(columns)
    columns["clip_id"] = _to_bytes(columns["clip_id"])
    for name in ("subset", "system"):
        if name in columns:
            columns[name] = _to_bytes(columns[name])
    columns["row_hash"] = _row_hashes(columns)
    return columns


def decode_shard(data: bytes, names: Sequence[str] | None = None) -> Columns:
    """The columns of a shard (all, or those named that it has); texts come as str."""
    return _decoded(arrays.decode(data, names))


def _decoded(columns: Columns) -> Columns:
    return {name: np.char.decode(v, "utf-8") if v.dtype.kind == "S" else v for name, v in columns.items()}


def describe(name: str, sha256: str, columns: Columns) -> Written:
    """A shard as the manifest says it, from its columns as they are read."""
    ids = list(dict.fromkeys(columns["clip_id"].tolist()))
    ends = {"first_clip": ids[0], "last_clip": ids[-1]} if ids else {}
    return Written(
        {"file": name, "sha256": sha256, "rows": len(columns["clip_id"]), **ends}, bytes(columns["row_hash"])
    )


def _to_bytes(values: np.ndarray | Sequence[str]) -> np.ndarray:
    encoded = [str(value).encode() for value in values]
    return np.array(encoded, dtype=f"S{max(map(len, encoded), default=1) or 1}")


def has_its_hashes(columns: Columns) -> bool:
    """Whether the hashes of a shard's rows are those of what the rows hold."""
    texts = {name: _to_bytes(values) for name, values in columns.items() if values.dtype.kind == "U"}
    return np.array_equal(columns["row_hash"], _row_hashes({**columns, **texts}))


def _row_hashes(columns: Columns) -> np.ndarray:
    """(row, 16) bytes: a hash of all that a row holds, so that parts of stores can be compared."""
    n_rows = len(columns["clip_id"])
    plain = {name: v for name, v in sorted(columns.items()) if name not in ("offset", "row_hash")}
    out = np.zeros((n_rows, 16), np.uint8)
    for row in range(n_rows):
        digest = xxhash.xxh3_128()
        for name, values in plain.items():
            if name == "array" and "offset" in columns:
                part = values[columns["offset"][row] : columns["offset"][row] + columns["length"][row]]
            else:
                part = values[row]
            digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).data)
        out[row] = np.frombuffer(digest.digest(), np.uint8)
    return out
