"""Stores: rows of arrays in HDF5 shards, with the tables of the corpus beside them.

Rows come in clip order; :mod:`asctool.storage.shards` says what a shard holds.
"""

import csv
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError, IntegrityError, UsageError, WouldWrite
from asctool.storage import atomic, locks, manifest, parts, rebuild, shards
from asctool.storage.dataset import Tables, decode_tables, encode_tables
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.shards import Columns, ShardWriter, Written

KINDS = ("waveform", "feature", "embedding", "tag", "attention", "posterior")
log = logging.getLogger("asctool")


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


class StoreWriter:
    """One store being written: what is missing of it, and the manifest at the end. Use under ``locks.writer_lock``.

    ``force`` makes every shard anew, but for those that the same call had written when it was stopped.
    """

    def __init__(self, directory: Path, recipe: Recipe, n_shards: int, force: bool = False) -> None:
        self.directory = directory
        self.recipe = recipe
        tag = rebuild.tag(directory, recipe) if force else recipe.fingerprint
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
        return shards.describe(path.name, atomic.sha256(data), shards.decode_shard(data, names=("clip_id", "row_hash")))

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
    firsts = shards.first_rows(ids)
    ends = np.append(firsts[1:], len(ids))
    row_bytes = sum(column[:1].nbytes for column in columns.values())
    plan = shards.plan_shards([int(n) * row_bytes for n in ends - firsts])
    writer = StoreWriter(directory, recipe, len(plan))
    for index, (first, end) in enumerate(plan):
        rows = slice(firsts[first], ends[end - 1])
        writer.add(index, writer.shards.write(index, {name: column[rows] for name, column in columns.items()}))
    writer.finish(tables, files, **more)


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
            columns = shards.decode_shard(data, names)
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
