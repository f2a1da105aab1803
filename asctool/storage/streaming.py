"""Rows of a store that stay on disk: looked up like an array, read when they are asked for.

The array of a shard lies contiguous and unfiltered in its file, so that a row is one read at a known place, and any
order of rows costs about the same: nothing needs to be shuffled on disk, and training draws the same rows in the same
order as from memory.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError, EnvironmentFailure, IntegrityError
from asctool.storage import arrays, manifest
from asctool.storage.shards import Columns, decode_shard
from asctool.storage.store import Store


@dataclass(frozen=True)
class Places:
    """Where each row of a store lies."""

    files: tuple[Path, ...]
    file_of: np.ndarray  # (row,) index of the file
    first_byte: np.ndarray  # (row,)
    row_shape: tuple[int, ...]  # as stored
    dtype: np.dtype


class StreamedRows:
    """Rows of a store as an array of which only what is asked for is read; waveforms come (row, channel, sample)."""

    def __init__(self, store: Store, places: Places, is_wave: bool) -> None:
        self._store = store  # holds the directory against writers
        self._places = places
        self._is_wave = is_wave

    @property
    def dtype(self) -> np.dtype:
        """As stored."""
        return self._places.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array in memory."""
        row = self._places.row_shape
        return (len(self), *(reversed(row) if self._is_wave else row))

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self._places.file_of)

    def subset(self, rows: np.ndarray) -> "StreamedRows":
        """Some of the rows, in this order; nothing is read."""
        places = self._places
        chosen = Places(places.files, places.file_of[rows], places.first_byte[rows], places.row_shape, places.dtype)
        return StreamedRows(self._store, chosen, self._is_wave)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Read a row (an index), or some (a slice or an array of indices).

        EnvironmentFailure where the store was made anew meanwhile.
        """
        places = self._places
        one = isinstance(rows, int | np.integer)
        files, firsts = np.atleast_1d(places.file_of[rows]), np.atleast_1d(places.first_byte[rows])
        out = np.empty((len(files), *places.row_shape), places.dtype)
        flat = out.reshape(len(files), int(np.prod(places.row_shape))).view(np.uint8)
        for row, (file, first) in enumerate(zip(files.tolist(), firsts.tolist())):
            self._read(places.files[file], first, flat[row])
        if self._is_wave:
            out = out.transpose(0, 2, 1)
        return out[0] if one else out

    def _read(self, path: Path, first: int, into: np.ndarray) -> None:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise EnvironmentFailure(f"{path}: was made anew while it was read; run this again") from error
        try:
            done = 0
            while done < len(into):
                n_bytes = os.preadv(file, [into[done:].data], first + done)
                if n_bytes == 0:
                    raise IntegrityError(f"{path}: has become shorter than it was; make it again with --force")
                done += n_bytes
        finally:
            os.close(file)


def n_bytes(store: Store) -> int:
    """What the shards of a store take on disk, and its rows in memory, about."""
    return sum((store.directory / entry["file"]).stat().st_size for entry in store.manifest["shards"])


def open_rows(store: Store, names: Sequence[str]) -> tuple[Columns, StreamedRows]:
    """The named columns of a store, and its array as rows that stay on disk; every shard's hash is checked here."""
    parts: list[Columns] = []
    files, file_of, first_byte, layouts = [], [], [], set()
    for index, entry in enumerate(store.manifest["shards"]):
        data = manifest.read_file(store.directory, entry["file"], entry["sha256"], store.verify)
        columns = decode_shard(data, (*names, "offset", "length"))
        place = arrays.locate(data, "array")
        n_rows = len(columns["clip_id"])
        row_shape = equal_rows(store, columns, place.shape, n_rows)
        size = int(np.prod(row_shape)) * place.dtype.itemsize
        files.append(store.directory / entry["file"])
        file_of.append(np.full(n_rows, index, np.int32))
        first_byte.append(place.first_byte + size * np.arange(n_rows, dtype=np.int64))
        layouts.add((row_shape, place.dtype))
        parts.append({name: columns[name] for name in names if name in columns})
    if not parts:
        raise DataError(f"{store.directory}: holds no rows")
    if len(layouts) > 1:
        raise unequal(store, sorted(shape[0] for shape, _ in layouts))
    ((row_shape, dtype),) = layouts
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    places = Places(tuple(files), np.concatenate(file_of), np.concatenate(first_byte), row_shape, dtype)
    return joined, StreamedRows(store, places, store.kind == "waveform")


def equal_rows(store: Store, columns: Columns, shape: tuple[int, ...], n_rows: int) -> tuple[int, ...]:
    """The shape of each row of a shard whose array has this shape; DataError where ragged rows differ in length."""
    if "length" not in columns:
        if shape[0] != n_rows:
            raise IntegrityError(f"{store.directory}: {shape[0]} arrays for {n_rows} rows; make it again with --force")
        return shape[1:]
    lengths = columns["length"]
    if len(set(lengths.tolist())) > 1:
        raise unequal(store, sorted(set(lengths.tolist())))
    if not np.array_equal(columns["offset"], np.cumsum(lengths) - lengths) or shape[0] != lengths.sum():
        raise IntegrityError(f"{store.directory}: its rows do not lie end to end; make it again with --force")
    return int(lengths[0]), *shape[1:]


def unequal(store: Store, lengths: Sequence[int]) -> DataError:
    """What is said of rows that cannot be put into one batch."""
    return DataError(
        f"{store.directory}: its rows have {lengths[0]} to {lengths[-1]} samples, a network takes equal ones; "
        f"featurize with --set segment_frames={lengths[-1]} (shorter clips are padded), or fewer"
    )
