"""A bundle: networks, SVMs and how they are joined, in one file that needs nothing else.

The file is one of safetensors (8 bytes: length of the header; the header: JSON; arrays end to end), whose last array
``sha256`` is the hash of all bytes before it. Nothing in it is packed and nothing is code: what a reader allocates is
what the file holds. ``docs/formats.md`` tells what the header says.
"""

import hashlib
import json
import math
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from asctool.errors import DataError, IntegrityError
from asctool.storage import atomic

FORMAT = "asctool-bundle/1"
METADATA, DESCRIPTION, SEAL = "__metadata__", "asctool", "sha256"
SEAL_BYTES = 32
MAX_BYTES = 4 << 30
MAX_HEADER_BYTES = 64 << 20
MAX_STEPS = 10_000
TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
NAMES = {np.dtype(code): name for name, code in TYPES.items()}
AGAIN = "bundle it again, or get it from where it came"


@dataclass(frozen=True)
class Step:
    """One thing to compute; a step names the steps whose values it takes by their places, all before its own."""

    do: str  # network: posteriors of a network; svm: of an SVM on its embeddings; fuse: join what other steps give
    system: str
    network: int = -1
    fold: int = 0  # of network and svm
    of: tuple[int, ...] = ()  # of fuse
    rule: str = ""
    level: str = ""  # of fuse: clip or segment
    kernel: str = ""  # of svm


@dataclass(frozen=True)
class Bundle:
    """What a bundle holds, wherever it came from."""

    classes: tuple[str, ...]
    networks: tuple[Mapping[str, Any], ...]  # what a run says of its network; ``taggers``: places of those it needs
    steps: tuple[Step, ...]
    results: tuple[int, ...]  # places of the steps that are asked for
    arrays: Mapping[str, np.ndarray]  # network/<number>/<weight>, svm/<step>/<name>, fuse/<step>/<name>
    made_by: Mapping[str, str] = field(default_factory=dict)

    def part(self, kind: str, number: int) -> dict[str, np.ndarray]:
        """The arrays of a network or a step by their own names."""
        prefix = f"{kind}/{number}/"
        return {name[len(prefix) :]: value for name, value in self.arrays.items() if name.startswith(prefix)}

    @property
    def datasets(self) -> list[dict[str, str]]:
        """Name and licence of each corpus that a network was trained on, where that is known."""
        found = [network.get("dataset") or {"name": "", "licence": ""} for network in self.networks]
        return [dict(pairs) for pairs in dict.fromkeys(tuple(sorted(entry.items())) for entry in found)]


def joined(bundles: Sequence[Bundle]) -> Bundle:
    """Several bundles as one; DataError where their classes differ."""
    first, *others = bundles
    for other in others:
        if other.classes != first.classes:
            raise DataError(
                f"models of different classes cannot be joined: {', '.join(first.classes)}; {', '.join(other.classes)}"
            )
        first = _joined_pair(first, other)
    return first


def _joined_pair(first: Bundle, second: Bundle) -> Bundle:
    networks, steps = len(first.networks), len(first.steps)

    def renamed(name: str) -> str:
        kind, number, rest = name.split("/", 2)
        return f"{kind}/{int(number) + (networks if kind == 'network' else steps)}/{rest}"

    moved = [
        replace(
            step,
            network=step.network + networks if step.network >= 0 else -1,
            of=tuple(place + steps for place in step.of),
        )
        for step in second.steps
    ]
    taking = [
        {**network, "taggers": [place + networks for place in network["taggers"]]} if "taggers" in network else network
        for network in second.networks
    ]
    return replace(
        first,
        networks=(*first.networks, *taking),
        steps=(*first.steps, *moved),
        results=(*first.results, *(place + steps for place in second.results)),
        arrays={**first.arrays, **{renamed(name): value for name, value in second.arrays.items()}},
    )


def write(path: Path, bundle: Bundle) -> None:
    """Write a bundle whole or not at all; equal bundles make equal bytes."""
    atomic.write_bytes(path, encode(bundle))


def encode(bundle: Bundle) -> bytes:
    """The bytes of the file."""
    described = {
        "format": FORMAT,
        "classes": list(bundle.classes),
        "datasets": bundle.datasets,
        "networks": list(bundle.networks),
        "steps": [{key: value for key, value in vars(step).items() if value not in ("", ())} for step in bundle.steps],
        "results": list(bundle.results),
        "made_by": dict(bundle.made_by),
    }
    arrays = {name: _plain(value) for name, value in bundle.arrays.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))  # so that all are aligned
    header: dict[str, Any] = {METADATA: {DESCRIPTION: json.dumps(described, sort_keys=True, ensure_ascii=False)}}
    offset = 0
    for name in order:
        header[name] = _entry(NAMES[arrays[name].dtype], list(arrays[name].shape), offset, arrays[name].nbytes)
        offset += arrays[name].nbytes
    header[SEAL] = _entry("U8", [SEAL_BYTES], offset, SEAL_BYTES)
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    body = b"".join([len(text).to_bytes(8, "little"), text, *(arrays[name].tobytes() for name in order)])
    return body + hashlib.sha256(body).digest()


def _plain(value: np.ndarray) -> np.ndarray:
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<")).reshape(value.shape)
    if little.dtype not in NAMES:
        raise TypeError(f"an array of {value.dtype} has no place in a bundle")
    return little


def _entry(kind: str, shape: list[int], offset: int, n_bytes: int) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + n_bytes]}


def read(path: Path) -> Bundle:
    """The bundle in a file, which may come from anybody; an AsctoolError for whatever :func:`write` does not write."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such run, result or bundle") from error
    except (OSError, ValueError) as error:  # a name too long, or with a zero byte
        raise DataError(f"{path}: {error}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise DataError(f"{path}: is no file of {MAX_BYTES >> 30} GiB at most, as a bundle is")
    return decode(atomic.read_bytes(path), str(path))


def decode(data: bytes, where: str = "these bytes") -> Bundle:
    """The inverse of :func:`encode`."""
    begin, header = _header(data, where)
    if hashlib.sha256(memoryview(data)[:-SEAL_BYTES]).digest() != data[-SEAL_BYTES:]:
        raise IntegrityError(f"{where}: is cut short or damaged (its hash differs); {AGAIN}")
    try:
        described = json.loads(header.pop(METADATA)[DESCRIPTION])
        if described["format"] != FORMAT:
            raise IntegrityError(f"{where}: has format {described['format']!r}; this asctool reads {FORMAT!r}")
        return _bundle(described, _arrays(data, begin, header))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise IntegrityError(f"{where}: is no bundle that asctool wrote ({error}); {AGAIN}") from error


def _header(data: bytes, where: str) -> tuple[int, dict[str, Any]]:
    """Where the arrays begin, and what the header says of them."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 + SEAL_BYTES or not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8 - SEAL_BYTES):
        raise IntegrityError(f"{where}: is no bundle, or is cut short; {AGAIN}")
    try:
        header = json.loads(data[8 : 8 + length])
        if (
            not isinstance(header, dict)
            or not isinstance(header[METADATA], dict)
            or DESCRIPTION not in header[METADATA]
        ):
            raise ValueError("it describes no bundle")
    except (ValueError, KeyError, RecursionError) as error:
        raise IntegrityError(
            f"{where}: is no bundle ({error}); give a run, a result, or what asctool bundle wrote"
        ) from error
    return 8 + length, header


def _arrays(data: bytes, begin: int, header: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Views of the bytes; each array begins where another one ended, and the seal ends the file."""
    out, expected = {}, 0
    for name, entry in sorted(header.items(), key=lambda pair: pair[1]["data_offsets"]):
        dtype = np.dtype(TYPES[entry["dtype"]])
        shape = tuple(_natural(size) for size in entry["shape"])
        first, end = map(_natural, entry["data_offsets"])
        if first != expected or end - first != math.prod(shape) * dtype.itemsize or begin + end > len(data):
            raise ValueError(f"array {name!r} is not where it belongs")
        flat = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype, math.prod(shape), begin + first)
        out[name] = (flat != 0 if dtype.kind == "b" else flat).reshape(shape)
        expected = end
    if begin + expected != len(data) or out.pop(SEAL).nbytes != SEAL_BYTES:
        raise ValueError("bytes that belong to nothing")
    for name, value in out.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"array {name!r} holds what is no number")
    return out


def _bundle(described: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Bundle:
    classes = tuple(_of(entry, str) for entry in _of(described["classes"], list))
    networks = tuple(_of(entry, dict) for entry in _of(described["networks"], list))
    steps = tuple(_step(_of(entry, dict), len(networks)) for entry in _of(described["steps"], list)[: MAX_STEPS + 1])
    results = tuple(_natural(place) for place in _of(described["results"], list))
    if not classes or len(set(classes)) < len(classes) or not results or len(steps) > MAX_STEPS:
        raise ValueError("no classes, classes that stand there twice, no results, or too many steps")
    for place, step in enumerate(steps):
        if any(other >= place for other in step.of):
            raise ValueError(f"step {place} takes what comes after it")
    used = [*results, *(other for step in steps for other in step.of)]
    if sorted(used) != list(range(len(steps))):  # so that no value grows by being taken many times
        raise ValueError("a step that is used twice, or not at all")
    _check_places(steps, networks, arrays)
    for network in networks:
        _check_dataset(network.get("dataset"))
    return Bundle(classes, networks, steps, results, arrays, _of(described.get("made_by", {}), dict))


def _step(entry: dict[str, Any], n_networks: int) -> Step:
    step = Step(
        do=_of(entry["do"], str),
        system=_of(entry["system"], str),
        network=_of(entry.get("network", -1), int),
        fold=_of(entry.get("fold", 0), int),
        of=tuple(_natural(place) for place in _of(entry.get("of", []), list)),
        rule=_of(entry.get("rule", ""), str),
        level=_of(entry.get("level", ""), str),
        kernel=_of(entry.get("kernel", ""), str),
    )
    takes = {"network": not step.of, "svm": not step.of and bool(step.kernel), "fuse": bool(step.of)}
    if not takes.get(step.do) or (step.do != "fuse") != (0 <= step.network < n_networks):
        raise ValueError(f"a step that does {step.do!r} with what it has not")
    return step


def _check_places(
    steps: Sequence[Step], networks: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
) -> None:
    """Every network is of some use, none is a tagger that needs tags itself, every array belongs to something."""
    used = {step.network for step in steps if step.do != "fuse"}
    for network in networks:
        taggers = [_natural(place) for place in _of(network.get("taggers", []), list)]
        if any("taggers" in networks[place] for place in taggers) or len(set(taggers)) < len(taggers):
            raise ValueError("a tagger that needs tags itself, or stands there twice")
        used |= set(taggers)
    if used != set(range(len(networks))):
        raise ValueError("a network that nothing uses")
    for name in arrays:
        kind, number, _ = name.split("/", 2)
        count = {"network": len(networks), "svm": len(steps), "fuse": len(steps)}[kind]
        if not (number.isascii() and number.isdigit() and len(number) < 8 and int(number) < count):
            raise ValueError(f"array {name!r} belongs to nothing")


def _check_dataset(entry: Any) -> None:
    if entry is not None and not all(isinstance(part, str) for pair in _of(entry, dict).items() for part in pair):
        raise ValueError("a dataset that is not described by texts")


def _of(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{kind.__name__} expected, not {type(value).__name__}")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value
