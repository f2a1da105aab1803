"""Stores: rows of arrays in HDF5 shards, with the tables of the corpus beside them.

Rows come in clip order. Columns of a shard: ``clip_id`` and ``start`` (seconds) of each row, ``array``; where rows
have unequal lengths ``array`` holds them end to end along its first axis, and ``offset`` and ``length`` cut them out.
Rows of trained things also have ``fold``, ``subset`` and ``system``; soft targets are a column ``target``.
"""

import csv
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from asctool.errors import DataError, IntegrityError, UsageError, WouldWrite
from asctool.storage import arrays, atomic, locks, manifest, parts
from asctool.storage.dataset import Tables, decode_tables, encode_tables
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part

KINDS = ("waveform", "feature", "embedding", "tag", "attention", "posterior")
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


def update_tables(directory: Path, tables: Tables, stage: str, dry_run: bool = False, part: Part | None = None) -> bool:
    """Rewrite the tables of a store whose rows are right; whether there was anything to rewrite."""
    wanted = encode_tables(tables)
    if _has(wanted, manifest.read(directory)):
        return False
    if dry_run:
        raise WouldWrite(f"{directory}: its rows are there; {stage} would bring its tables up to date")
    with parts.in_turn(directory, part):
        old = manifest.read(directory)
        if not _has(wanted, old):  # another part may have been first
            manifest.commit(directory, old, wanted)
    return True


def _has(tables: dict[str, bytes], found: dict[str, Any]) -> bool:
    return all(atomic.sha256(content) == found["files"].get(name) for name, content in tables.items())


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

    def write(self, index: int, columns: Columns) -> "Written":
        """Write one shard; ``clip_id`` may be a list of str, all columns but a ragged ``array`` have a row each.

        Its name is as durable as the store, by the manifest: until then the shard may be made again.
        """
        columns = _encodable(columns)
        data = arrays.encode(columns)
        sha256 = atomic.sha256(data)
        name = f"{self._stem(index)}-{sha256[:HASH_DIGITS]}.h5"
        atomic.write_bytes(self.directory / name, data, "shard", sync_name=False)
        return _describe(name, sha256, _decoded(columns))

    def _stem(self, index: int) -> str:
        return f"shard-{index:05d}-of-{self.n_shards:05d}-{self.tag[:12]}"


class Written(NamedTuple):
    """A whole shard: what the manifest says of it, and the hashes of its rows."""

    entry: dict[str, Any]
    row_hashes: bytes


class StoreWriter:
    """One store being written: what is missing of it, and the manifest at the end. Use under ``locks.writer_lock``.

    ``force`` makes every shard anew, but for those that the same call had written when it was stopped.
    """

    def __init__(self, directory: Path, recipe: Recipe, n_shards: int, force: bool = False) -> None:
        self.directory = directory
        self.recipe = recipe
        tag = manifest.rebuild_tag(directory, recipe) if force else recipe.fingerprint
        self.shards = ShardWriter(directory, tag, n_shards)
        self._written: dict[int, Written] = {}

    def add(self, index: int, written: Written) -> None:
        """Take note of a shard just written, by this process or another: ``finish`` need not read it again."""
        self._written[index] = written

    def finish(self, tables: Tables, files: Mapping[str, bytes] | None = None, **more: Any) -> None:
        """Write tables and further files, then the manifest; remove the shards of an older store."""
        entries, hashes = [], hashlib.sha256()
        others = self.shards.files() if len(self._written) < self.shards.n_shards else {}
        for index in range(self.shards.n_shards):
            entry, row_hashes = self._written.get(index) or self._read(index, others.get(index, []))
            if not (self.directory / entry["file"]).is_file():
                raise self._gone(index)
            hashes.update(row_hashes)
            entries.append(entry)
        body = {"rows": sum(entry["rows"] for entry in entries), "content": hashes.hexdigest(), "shards": entries}
        files = {**encode_tables(tables), **(files or {})}
        manifest.commit(self.directory, manifest.describe(self.recipe, **body, **more), files)

    def _read(self, index: int, paths: Sequence[Path]) -> Written:
        """A shard that is there, of one that was stopped or of another part."""
        path = self.shards.whole(paths)
        if path is None:
            raise self._gone(index)
        data = path.read_bytes()
        return _describe(path.name, atomic.sha256(data), decode_shard(data, names=("clip_id", "row_hash")))

    def _gone(self, index: int) -> IntegrityError:
        return IntegrityError(f"{self.directory}: shard {index + 1} is gone since it was written; run it again")


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
        writer.add(index, writer.shards.write(index, {name: column[rows] for name, column in columns.items()}))
    writer.finish(tables, files, **more)


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


def _describe(name: str, sha256: str, columns: Columns) -> Written:
    ids = list(dict.fromkeys(columns["clip_id"].tolist()))
    ends = {"first_clip": ids[0], "last_clip": ids[-1]} if ids else {}
    return Written(
        {"file": name, "sha256": sha256, "rows": len(columns["clip_id"]), **ends}, bytes(columns["row_hash"])
    )


class Store:
    """A finished store, opened for reading; every shard's hash is checked before HDF5 sees it, once a process."""

    def __init__(self, directory: Path, *kinds: str, verify: bool = True) -> None:
        self.directory = Path(directory)
        locks.hold(self.directory, self)
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
        return read_tables(self.read_file, self.directory)

    def read_file(self, name: str) -> bytes:
        """A file beside the shards, checked against the manifest."""
        if name not in self.manifest["files"]:
            raise DataError(f"{self.directory}: has no {name}")
        return manifest.read_file(self.directory, name, self.manifest["files"][name], self.verify)

    def shards(self, names: Sequence[str] | None = None, among: slice = slice(None)) -> Iterator[Columns]:
        """The columns of one shard after the other (all, or some of them), at the memory of one."""
        for entry in self.manifest["shards"][among]:
            yield self._shard(entry, names)

    def columns(self, *names: str) -> Columns:
        """Whole columns (all rows), joined over the shards; not for a ragged ``array``."""
        parts = list(self.shards(names))
        try:
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
        except (KeyError, ValueError) as error:
            raise IntegrityError(f"{self.directory}: its shards do not belong together; make it again") from error

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
        data = manifest.read_file(self.directory, entry["file"], entry["sha256"], self.verify)
        try:
            columns = decode_shard(data, names)
        except IntegrityError as error:
            raise IntegrityError(f"{self.directory / entry['file']}: {error}") from error
        rows = next((len(v) for name, v in columns.items() if name != "array"), entry["rows"])
        if rows != entry["rows"]:
            raise IntegrityError(f"{self.directory / entry['file']}: {rows} rows where {entry['rows']} are promised")
        return columns


def read_tables(read: Callable[[str], bytes], directory: Path) -> Tables:
    """The three tables of an artifact; IntegrityError where they are not what asctool writes."""
    try:
        return decode_tables({name: read(name) for name in ("clips.csv", "folds.csv", "classes.txt")})
    except (ValueError, IndexError, csv.Error) as error:  # of unpacking, numbers, UTF-8
        raise IntegrityError(f"{directory}: its tables cannot be read ({error}); make it again with --force") from error


def check_output(output: Path, *inputs: Path) -> None:
    """An output that is one of the inputs is a slip."""
    for path in inputs:
        if output.resolve() == path.resolve():
            raise UsageError(f"{output}: is input and output at once")


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
