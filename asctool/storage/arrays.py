"""Plain arrays by name in one HDF5 file: shards, and what svm and fuse keep their models in. No pickle."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asctool.errors import IntegrityError

KINDS = "biufS"  # of NumPy's types: numbers and bytes; texts of any length, references and objects are none of ours


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an HDF5 file with a dataset for each array, built in memory: a full disk never meets HDF5 itself."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in sorted(arrays):
            file.create_dataset(name, data=arrays[name], track_times=False)
    return buffer.getvalue()


def decode(data: bytes, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The inverse of :func:`encode`, of all arrays or of those named that are there.

    IntegrityError for whatever :func:`encode` does not write: links, data that lies in other files or behind filters,
    shapes that promise more than the file holds.
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            datasets = {name: _plain(file, name) for name in list(file) if names is None or name in names}
            needed = sum(dataset.nbytes for dataset in datasets.values())
            if needed > len(data):  # before anything is allocated
                raise IntegrityError(f"is no file of plain arrays: {len(data)} bytes promise {needed}")
            return {name: dataset[...] for name, dataset in datasets.items()}
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        OverflowError,
    ) as error:  # h5py's, of damage
        raise IntegrityError(f"is no file of plain arrays: {error}") from error


@dataclass(frozen=True)
class Place:
    """Where an array lies in a file: contiguous, in the byte order of its type."""

    first_byte: int
    shape: tuple[int, ...]
    dtype: np.dtype


def locate(data: bytes, name: str) -> Place:
    """Where an array lies in what :func:`encode` wrote; IntegrityError where it is not whole in there."""
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            dataset = _plain(file, name)
            place = Place(int(dataset.id.get_offset() or 0), tuple(dataset.shape), dataset.dtype)
            n_bytes = dataset.nbytes
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise IntegrityError(f"is no file of plain arrays: {error}") from error
    if place.first_byte + n_bytes > len(data) or (n_bytes and not place.first_byte):
        raise IntegrityError(f"is no file of plain arrays: {name!r} does not lie in it")
    return place


def _plain(file: Any, name: str) -> Any:
    """A dataset that lies whole and unfiltered in this file."""
    import h5py

    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise IntegrityError(f"is no file of plain arrays: {name!r} is a link to somewhere else")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in KINDS or dataset.shape is None:
        raise IntegrityError(f"is no file of plain arrays: {name!r} is none")
    if dataset.external or dataset.is_virtual or dataset.chunks:
        raise IntegrityError(f"is no file of plain arrays: the data of {name!r} lies elsewhere or behind a filter")
    return dataset
