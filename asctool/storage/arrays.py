"""Plain arrays by name in one HDF5 file: what svm and fuse keep their models in. No pickle."""

import io
from collections.abc import Mapping

import numpy as np

from asctool.errors import IntegrityError


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an HDF5 file with a dataset for each array."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name in sorted(arrays):
            file.create_dataset(name, data=arrays[name], track_times=False)
    return buffer.getvalue()


def decode(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of :func:`encode`."""
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            return {name: file[name][...] for name in file}
    except (OSError, KeyError, TypeError) as error:
        raise IntegrityError(f"a model of plain arrays cannot be read: {error}") from error
