"""Dry runs: what a stage would write, said in the place of writing it.

A stage hands ``dry_run`` and an estimate to :func:`asctool.storage.rebuild.settled`, the place at which every stage
learns whether there is anything to do. Where there is, a dry run ends there, so that nothing behind it can write.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asctool.errors import EnvironmentFailure, WouldWrite
from asctool.storage import atomic, locks, parts
from asctool.storage.dataset import Tables, encode_tables
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part

ROW_BYTES = 8 + 16  # of ``start`` and ``row_hash``, which every row has
TRAINED_BYTES = 4 + 5  # of ``fold`` and ``subset``
SHARD_BYTES = 4096  # of HDF5's own


@dataclass(frozen=True)
class Estimate:
    """What an output will take on the disk, and from how many shards a stage that was stopped can go on."""

    n_bytes: float
    n_shards: int | None = None  # None: a stage that computes all anew when it is run again
    n_pieces: int | None = None  # that parts of an array job share out, where they are no shards

    @classmethod
    def of(cls, tables: Tables, clip_bytes: Sequence[float], shards: Sequence[object]) -> "Estimate":
        """Of a store written shard by shard, from the bytes that the rows of each clip take."""
        return cls(sum(clip_bytes) + of_rows(tables, len(tables.clips), 0) + SHARD_BYTES * len(shards), len(shards))


def of_rows(tables: Tables, n_rows: int, row_bytes: float, system: str | None = None) -> float:
    """Bytes of a store: its tables, and rows of ``row_bytes`` beside what every row (of a trained thing) has."""
    names = max((len(clip.clip_id.encode()) for clip in tables.clips), default=1)
    own = ROW_BYTES + names + (TRAINED_BYTES + len(system.encode()) if system else 0)
    return SHARD_BYTES + n_rows * (own + row_bytes) + sum(map(len, encode_tables(tables).values()))


def rehearse(
    directory: Path,
    recipe: Recipe,
    tag: str,
    force: bool,
    estimate: Callable[[], Estimate] | None,
    part: Part | None = None,
) -> None:
    """Raise WouldWrite; or EnvironmentFailure where the stage could not write, for the reason that it would give.

    ``tag`` is what shards and checkpoints that a stopped call has left bear in their names.
    """
    locks.check_writable(directory, beside_parts=part is not None)
    replaces = " in the place of what is there (--force)" if force and (directory / "manifest.json").is_file() else ""
    expected = estimate() if estimate else None
    if part and expected:
        _rehearse_part(directory, recipe, tag[:12], expected, part)
    there = _there(directory, tag[:12], expected.n_shards if expected else None)
    size = "" if expected is None else f"; {_room(directory, expected.n_bytes)}"
    raise WouldWrite(f"{directory}: {recipe.stage} would write {_a(recipe.kind)}{replaces}{there}{size}")


def _rehearse_part(directory: Path, recipe: Recipe, tag: str, expected: Estimate, part: Part) -> None:
    """The same of one part: its share of the pieces, and of the disk."""
    parts.check_begun(directory, recipe)
    n_pieces = expected.n_shards if expected.n_pieces is None else expected.n_pieces
    assert n_pieces is not None
    mine = parts.share(n_pieces, part)
    whole = [index for index in mine if expected.n_shards and _is_there(directory, index, n_pieces, tag)]
    pieces = "shards" if expected.n_shards else "pieces"
    if not mine:
        raise WouldWrite(f"{directory}: part {part} has nothing to do, there are {n_pieces} {pieces}")
    there = f", {len(whole)} of which are there" if whole else ""
    room = _room(directory, expected.n_bytes * (len(mine) - len(whole)) / n_pieces)
    raise WouldWrite(
        f"{directory}: part {part} of {recipe.stage} would write {len(mine)} of the {n_pieces} {pieces} of "
        f"{_a(recipe.kind)}{there}; {room}"
    )


def _is_there(directory: Path, index: int, n_shards: int, tag: str) -> bool:
    return any(map(_is_whole, directory.glob(f"shard-{index:05d}-of-{n_shards:05d}-{tag}-*.h5")))


def rehearse_file(path: Path, stage: str, n_bytes: int) -> None:
    """The same for a stage that writes one file."""
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise EnvironmentFailure(f"{path}: is a directory, or in none that exists; give another name")
    replaces = " in the place of what is there (--force)" if path.exists() else ""
    raise WouldWrite(f"{path}: {stage} would write a file{replaces}; {_room(path.parent, n_bytes)}")


def _a(kind: str) -> str:
    names = {"data": "a data directory", "run": "a run", "scores": "scores"}
    return names.get(kind, f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} store")


def _there(directory: Path, tag: str, n_shards: int | None) -> str:
    """What a stopped call has left, to go on from; damaged files are left out, as the stage itself would do."""
    if n_shards is not None:
        whole = [path for path in directory.glob(f"shard-*-of-{n_shards:05d}-{tag}-*.h5") if _is_whole(path)]
        return f", going on after {len(whole)} of {n_shards} shards" if whole else ""
    for path in sorted(directory.glob(f"checkpoint-*-{tag}-*.pt"), reverse=True):
        if _is_whole(path):
            return f", going on after epoch {int(path.name.split('-')[1])}"
    copies = sum(map(_is_whole, directory.glob(f"copies-{tag}/*.wav")))
    return f", going on after {copies} copies" if copies else ""


def _is_whole(path: Path) -> bool:
    digits = path.stem.rpartition("-")[2]
    return path.is_file() and atomic.sha256_file(path)[: len(digits)] == digits


def _room(directory: Path, n_bytes: float) -> str:
    """What it will take and what is free; EnvironmentFailure where that is too little."""
    free = shutil.disk_usage(directory if directory.exists() else directory.resolve().parent).free
    if n_bytes > free:
        needed = f"about {size(n_bytes)} needed, {size(free)} free"
        raise EnvironmentFailure(f"{directory}: no room: {needed}; free some space or give another output")
    return f"about {size(n_bytes)} of disk, {size(free)} are free"


def size(n_bytes: float) -> str:
    """A number of bytes for people."""
    for unit, divisor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= divisor:
            return f"{n_bytes / divisor:.1f} {unit}"
    return f"{n_bytes:.0f} bytes"
