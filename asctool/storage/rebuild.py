"""Whether an artifact has to be made: not where it is there by the same recipe, never over another unless forced."""

import contextlib
from collections.abc import Callable
from pathlib import Path

from asctool.errors import EnvironmentFailure, IntegrityError, UsageError
from asctool.storage import atomic, locks, manifest, rehearsal
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.rehearsal import Estimate
from asctool.storage.settings import differences


def settled(
    directory: Path,
    recipe: Recipe,
    force: bool,
    dry_run: bool = False,
    estimate: Callable[[], Estimate] | None = None,
    part: Part | None = None,
) -> bool:
    """Whether the artifact is there, made by this recipe; UsageError when another made it and nothing is forced.

    A dry run goes no further where it is not: it ends with WouldWrite, which tells the estimate. A ``part`` of an
    artifact cannot be forced.
    """
    if force and part:
        raise UsageError(
            f"--force --part {part}: a part that comes late would begin anew what the others have finished; remove "
            f"{directory} first, or force it without --part"
        )
    if not _is_there(directory, recipe, force):
        if dry_run:
            name = tag(directory, recipe) if force else recipe.fingerprint
            rehearsal.rehearse(directory, recipe, name, force, estimate, part)
        return False
    if not dry_run:
        _settle_what_was_left(directory)
    return True


def check_place(directory: Path, stage: str) -> None:
    """UsageError for a directory that is no artifact, or that of another stage, forced or not; it stays as it is.

    An output was forgotten, most likely, and the last input stands in its place.
    """
    if not (directory / manifest.NAME).is_file():
        names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
        if not all(name.startswith((".", "shard-", "checkpoint-")) for name in names) and not _is_ours(directory):
            raise UsageError(f"{directory}: holds other files; give a new directory")
        return
    with contextlib.suppress(IntegrityError):  # a damaged one says nothing of its stage
        other = manifest.read(directory)["stage"]
        if other != stage:
            raise UsageError(
                f"{directory}: was written by {other}, and {stage} does not replace it; the output comes last, give "
                "another one"
            )


def _is_there(directory: Path, recipe: Recipe, force: bool) -> bool:
    """Whether nothing need be made; UsageError where something else is in its place."""
    check_place(directory, recipe.stage)
    if force or not (directory / manifest.NAME).is_file():
        return False
    old = manifest.read(directory)
    if old["fingerprint"] == recipe.fingerprint:
        return True
    changes = "; ".join(differences(manifest.recipe_of(old).flat(), recipe.flat())) or "another configuration"
    raise UsageError(f"{directory}: was made with other options ({changes}); give another output or --force")


def _is_ours(directory: Path) -> bool:
    return any(directory.glob("shard-*")) or any(directory.glob("checkpoint-*")) or (directory / locks.LOCK).exists()


def tag(directory: Path, recipe: Recipe) -> str:
    """What the shards and checkpoints of a forced rebuild have in their names, in the place of the fingerprint.

    It stands for the recipe and for what is to be replaced: the same command goes on where it was stopped, the next
    one makes everything anew, and neither touches a file of the artifact that is still there.
    """
    replaced = atomic.read_bytes(directory / manifest.NAME) if (directory / manifest.NAME).is_file() else b""
    return manifest.content_hash("rebuild", recipe.fingerprint, replaced)


def _settle_what_was_left(directory: Path) -> None:
    """Finish what a writer that was killed after its manifest, or met a reader, had left to do."""
    if any(directory.glob(f"{manifest.CONTENT_NAME}*")):
        with contextlib.suppress(EnvironmentFailure), locks.writer_lock(directory):
            manifest.settle(directory)
