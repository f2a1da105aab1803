"""Rows of features on their way to the device: all there from the beginning, or read some batches ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from asctool.storage.streaming import StreamedRows

AHEAD = 3  # batches read before they are asked for
Item = TypeVar("Item")
Result = TypeVar("Result")
Pair = tuple[Tensor, Tensor | None]  # rows, and the rows that they are mixed with


class Source(Protocol):
    """Where batches come from."""

    def __call__(
        self, rows: np.ndarray, partners: np.ndarray | None, ranges: Sequence[tuple[int, int]]
    ) -> Iterator[Pair]:
        """The rows of each range as stored, on the device, and their partners where there are any."""


def source(features: np.ndarray | StreamedRows, device: torch.device) -> Source:
    """Rows in memory are put on the device; others are read by a thread while the device computes."""
    return _Streamed(features, device) if isinstance(features, StreamedRows) else _Resident(features, device)


class _Resident:
    def __init__(self, features: np.ndarray, device: torch.device) -> None:
        self.device = device
        self.features = torch.from_numpy(features).to(device)

    def __call__(
        self, rows: np.ndarray, partners: np.ndarray | None, ranges: Sequence[tuple[int, int]]
    ) -> Iterator[Pair]:
        first_rows, others = (None if v is None else torch.from_numpy(v).to(self.device) for v in (rows, partners))
        assert first_rows is not None
        for first, end in ranges:
            yield self.features[first_rows[first:end]], None if others is None else self.features[others[first:end]]


class _Streamed:
    def __init__(self, features: StreamedRows, device: torch.device) -> None:
        self.device = device
        self.features = features

    def __call__(
        self, rows: np.ndarray, partners: np.ndarray | None, ranges: Sequence[tuple[int, int]]
    ) -> Iterator[Pair]:
        def read(part: tuple[int, int]) -> Pair:
            return tuple(None if v is None else self._read(v[slice(*part)]) for v in (rows, partners))  # type: ignore[return-value]

        for own, other in ahead(read, ranges):
            yield self._placed(own), None if other is None else self._placed(other)

    def _read(self, rows: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(self.features[rows])
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def _placed(self, rows: Tensor) -> Tensor:
        return rows.to(self.device, non_blocking=True)


def ahead(function: Callable[[Item], Result], items: Iterable[Item], depth: int = AHEAD) -> Iterator[Result]:
    """The function of each item in their order, computed by a thread up to ``depth`` items ahead."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            for item in items:
                waiting.append(thread.submit(function, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            thread.shutdown(wait=True, cancel_futures=True)
