"""Parts of an artifact that the jobs of an array make side by side, on several machines too: ``--part 3/16``.

Parts share the writer's lock, so that they may be there together and a writer of the whole may not. The first of them
writes down what is being made, the others are held against it. Whoever finds all pieces there when its own are done
finishes the artifact; parts do that in turn, so that it happens once.
"""

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from asctool.errors import IntegrityError, UsageError
from asctool.storage import atomic, locks
from asctool.storage.settings import differences

if TYPE_CHECKING:
    from asctool.storage.manifest import Recipe

BEGUN = ".parts.json"  # what the parts are of, until the manifest says it
Piece = TypeVar("Piece")
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class Part:
    """Part ``number`` of ``total``, counted from 1."""

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Of ``3/16``; UsageError for anything else."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UsageError(f"--part {text}: give a number and how many there are, such as 3/16; 1/16 is the first")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def share(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Every ``total``-th piece: what neighbours have in common, long clips say, is shared out too."""
        return pieces[self.number - 1 :: self.total]


def share(n_pieces: int, part: Part | None) -> Sequence[int]:
    """Which of so many pieces a part makes; all of them without one."""
    return range(n_pieces) if part is None else part.share(range(n_pieces))


@contextlib.contextmanager
def writer(directory: Path, recipe: "Recipe", part: Part | None) -> Iterator[None]:
    """Hold a directory to write all of an artifact, or beside others a part of it.

    EnvironmentFailure names who holds it; UsageError where its parts were begun with other options.
    """
    if part is None:
        with locks.writer_lock(directory):
            (directory / BEGUN).unlink(missing_ok=True)
            yield
        return
    with locks.part_lock(directory, part.number, part.total):
        with locks.turn(directory):
            if not (directory / "manifest.json").is_file():
                _begin(directory, recipe)
        yield


def mark(directory: Path, part: Part | None) -> Path:
    """A file in a directory that is held, of which no other writer has the like: who sees it sees this directory."""
    name = locks.LOCK if part is None else locks.part_lock_name(part.number, part.total)
    return directory / name


@contextlib.contextmanager
def in_turn(directory: Path, part: Part | None) -> Iterator[None]:
    """Hold a finished artifact to change its tables: alone, or each part after the other."""
    if part is None:
        with locks.writer_lock(directory):
            yield
        return
    with locks.part_lock(directory, part.number, part.total), locks.turn(directory):
        yield
        (directory / locks.TURN).unlink(missing_ok=True)  # whoever waits for it finds all done


def _begin(directory: Path, recipe: "Recipe") -> None:
    if check_begun(directory, recipe):
        return
    told = {"fingerprint": recipe.fingerprint, "options": recipe.flat()}
    atomic.write_bytes(directory / BEGUN, json.dumps(told, indent=1).encode() + b"\n")


def check_begun(directory: Path, recipe: "Recipe") -> bool:
    """Whether parts of this artifact were begun; UsageError where they are of another one."""
    try:
        begun = json.loads(atomic.read_bytes(directory / BEGUN))
        fingerprint, options = str(begun["fingerprint"]), dict(begun["options"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):  # damaged: it is written again
        return False
    if fingerprint == recipe.fingerprint:
        return True
    changes = "; ".join(differences(options, json.loads(json.dumps(recipe.flat())))) or "another configuration"
    raise UsageError(
        f"{directory}: its parts were begun with other options ({changes}); give those, another output, or remove it"
    )


def finish(
    directory: Path, part: Part | None, n_pieces: int, absent: Callable[[], Sequence[int]], commit: Callable[[], None]
) -> bool | None:
    """Write the manifest once all pieces are there: True; False where another part did, None while some are absent."""
    if part is None:
        commit()
        return True
    if not share(n_pieces, part):
        log.info("%s: there is nothing for part %s to do, there are %d pieces", directory, part, n_pieces)
    with locks.turn(directory):
        if (directory / "manifest.json").is_file():
            return False
        left = absent()
        if not left:
            commit()
            return True
    mine = set(left) & set(share(n_pieces, part))
    if mine:
        raise IntegrityError(f"{directory}: piece {min(mine) + 1} is gone since it was written; run it again")
    log.info("%s: part %s is done; %d pieces of %d are yet to come from others", directory, part, len(left), n_pieces)
    return None
