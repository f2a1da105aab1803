"""Damage: bytes with bits flipped, cut, doubled, spliced; values of nested data put in the place of others."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

HEAD = 256  # bytes in which headers lie: half of all damage is done there
INTEGERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 10**9, 10**30, 0.0, -1.5, float("nan"), float("inf")),
    *("", "x", "..", "/etc/passwd", "a\0b", "\ud800", "1" * 5000, [], {}, [[]], [0] * 1000, {"": None}),
)
Generator = np.random.Generator


def damaged(data: bytes, others: Sequence[bytes], rng: Generator) -> bytes:
    """One to six kinds of damage, one after the other; ``others`` are what may be spliced in."""
    for _ in range(int(rng.integers(1, 7)) if rng.random() < 0.5 else 1):
        change = CHANGES[int(rng.integers(len(CHANGES)))]
        data = change(data, rng) if data else bytes(rng.integers(0, 256, 8, np.uint8))
        if rng.random() < 0.05:
            data = _splice(data, others[int(rng.integers(len(others)))], rng)
    return data


def _place(data: bytes, rng: Generator) -> int:
    return int(rng.integers(min(len(data), HEAD) if rng.random() < 0.5 else len(data)))


def _flip(data: bytes, rng: Generator) -> bytes:
    changed = bytearray(data)
    changed[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwrite(data: bytes, rng: Generator) -> bytes:
    place, size = _place(data, rng), int(rng.choice([1, 2, 4, 8]))
    value = INTEGERS[int(rng.integers(len(INTEGERS)))] & ((1 << 8 * size) - 1)
    new = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return data[:place] + new + data[place + size :]


def _cut(data: bytes, rng: Generator) -> bytes:
    return data[: _place(data, rng)]


def _take_out(data: bytes, rng: Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 1 + max(1, len(data) // 8))) :]


def _double(data: bytes, rng: Generator) -> bytes:
    place = _place(data, rng)
    end = place + int(rng.integers(1, 1 + max(1, len(data) // 8)))
    return data[:end] + data[place:]


def _noise(data: bytes, rng: Generator) -> bytes:
    place, size = _place(data, rng), int(rng.integers(1, 64))
    return data[:place] + rng.bytes(size) + data[place + (size if rng.random() < 0.5 else 0) :]


def _zeros(data: bytes, rng: Generator) -> bytes:
    place, size = _place(data, rng), int(rng.integers(1, 512))
    return data[:place] + bytes(min(size, len(data) - place)) + data[place + size :]


def _splice(data: bytes, other: bytes, rng: Generator) -> bytes:
    return data[: _place(data, rng) if data else 0] + other[_place(other, rng) if other else 0 :]


CHANGES: tuple[Callable[[bytes, Generator], bytes], ...] = (
    *(_flip, _flip, _flip, _overwrite, _overwrite, _cut, _take_out, _double, _noise, _zeros),
)


def replaced(value: Any, rng: Generator, values: Sequence[Any] = VALUES) -> Any:
    """A nest of dicts and lists with one to three of its values replaced, taken out or put elsewhere."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(value))
        if not places:
            return value
        holder, key = places[int(rng.integers(len(places)))]
        action = rng.random()
        if action < 0.15:
            del holder[key]
        elif action < 0.3:
            other_holder, other_key = places[int(rng.integers(len(places)))]
            holder[key] = copy.deepcopy(other_holder[other_key])
        else:
            holder[key] = copy.deepcopy(values[int(rng.integers(len(values)))])
    return value


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
