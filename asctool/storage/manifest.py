"""What every artifact of asctool says of itself: ``manifest.json``, written last, and the fingerprint it stands for."""

import hashlib
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asctool import __version__
from asctool.errors import DataError, IntegrityError, UsageError
from asctool.storage import atomic
from asctool.storage.settings import differences

FORMAT = "asctool/1"
NAME = "manifest.json"


@dataclass(frozen=True)
class Recipe:
    """What decides the content of an artifact: the stage, its version, its options, the content of its inputs."""

    kind: str  # data | waveform | feature | embedding | tag | attention | posterior | run
    stage: str
    version: int  # of the stage: raised when the same options come to mean another content
    config: Mapping[str, Any]  # plain JSON values
    inputs: Mapping[str, str] = field(default_factory=dict)  # name of the input -> hash of the content that is used

    @property
    def fingerprint(self) -> str:
        """Hash of all of it: equal fingerprints mean equal content."""
        return content_hash(json.dumps([self.kind, self.stage, self.version, self.config, self.inputs], sort_keys=True))

    def flat(self) -> dict[str, Any]:
        """One level of names, to show what differs between two recipes."""
        own = {"kind": self.kind, "stage": self.stage, "stage version": self.version}
        return own | dict(self.config) | {f"content of {name}": value[:12] for name, value in self.inputs.items()}


def content_hash(*parts: str | bytes) -> str:
    """sha256 over length-prefixed parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def describe(recipe: Recipe, **more: Any) -> dict[str, Any]:
    """The manifest of an artifact made by a recipe."""
    return {
        "format": FORMAT,
        "kind": recipe.kind,
        "stage": recipe.stage,
        "stage_version": recipe.version,
        "fingerprint": recipe.fingerprint,
        "config": dict(recipe.config),
        "inputs": dict(recipe.inputs),
        **more,
        "made_by": {
            "asctool": __version__,
            "command": shlex.join(["asctool", *sys.argv[1:]]),
            "python": platform.python_version(),
        },
    }


def recipe_of(manifest: Mapping[str, Any]) -> Recipe:
    """The recipe that a manifest was made by."""
    return Recipe(
        manifest["kind"], manifest["stage"], manifest["stage_version"], manifest["config"], manifest["inputs"]
    )


def relative(path: Path, output: Path) -> str:
    """Where an input lies, seen from the output's parent, so that both can be moved together."""
    return os.path.relpath(path.resolve(), output.resolve().parent)


def write(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of an artifact whose other files are all in place."""
    atomic.write_bytes(directory / NAME, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())


def read(directory: Path, *kinds: str) -> dict[str, Any]:
    """An artifact's manifest; DataError for another kind than these, IntegrityError for a missing or damaged one."""
    path = directory / NAME
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such {' or '.join(kinds) or 'artifact'}")
    if not path.is_file():
        raise IntegrityError(f"{directory}: {_incomplete(directory)}")
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        kind = manifest["kind"]
        if manifest["format"] != FORMAT:
            raise IntegrityError(f"{path}: has format {manifest['format']!r}; this asctool reads {FORMAT!r}")
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: is damaged ({error}); make it again with --force") from error
    if kinds and kind not in kinds:
        raise DataError(f"{directory}: is a store of kind {kind!r}, where {' or '.join(map(repr, kinds))} is needed")
    return manifest


def settled(directory: Path, recipe: Recipe, force: bool) -> bool:
    """Whether the artifact is there, made by this recipe; UsageError when another made it and nothing is forced."""
    if not (directory / NAME).is_file():
        foreign = directory.is_dir() and any(
            not p.name.startswith((".", "shard-", "checkpoint-")) for p in directory.iterdir()
        )
        if foreign and not force and not _is_ours(directory):
            raise UsageError(f"{directory}: holds other files; give a new directory or --force")
        return False
    if force:
        return False
    old = read(directory)
    if old["fingerprint"] == recipe.fingerprint:
        return True
    changes = "; ".join(differences(recipe_of(old).flat(), recipe.flat())) or "another configuration"
    raise UsageError(f"{directory}: was made with other options ({changes}); give another output or --force")


def _is_ours(directory: Path) -> bool:
    return any(directory.glob("shard-*")) or any(directory.glob("checkpoint-*")) or (directory / atomic.LOCK).exists()


def _incomplete(directory: Path) -> str:
    shards = sorted(directory.glob("shard-*-of-*.h5"))
    if shards:
        total = int(shards[0].stem.split("-")[3])
        return f"incomplete: {len(shards)} of {total} shards; run the stage that writes it again"
    return f"is no complete artifact of asctool (it has no {NAME}); run the stage that writes it again"
