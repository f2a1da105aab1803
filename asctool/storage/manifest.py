"""What every artifact of asctool says of itself: ``manifest.json``, and the fingerprint it stands for.

Putting the manifest in place, one rename, is what makes an artifact or replaces one by another (:func:`commit`):
until then the small files of the new one lie beside those of the old under the names of their content, and are
brought under their plain names afterwards. A reader looks under both, so that it sees the old or the new whole.
"""

import contextlib
import hashlib
import json
import os
import platform
import re
import shlex
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asctool import __version__
from asctool.errors import DataError, EnvironmentFailure, IntegrityError
from asctool.storage import atomic, locks, parts
from asctool.storage.dataset import Tables, encode_tables

FORMAT = "asctool/1"
NAME = "manifest.json"
CONTENT_NAME = ".content-"  # then 16 digits of the sha256, a hyphen, the plain name
_SEAL = re.compile(rb',\n "sha256": "([0-9a-f]{64})"\n}\n\Z')  # of all that stands before it
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TYPES = {"kind": str, "stage": str, "stage_version": int, "fingerprint": str, "config": dict, "inputs": dict}
# Where they are there. Entries of a store that later stages need are checked by those.
_MORE_TYPES = {"rows": int, "content": str, "level": str, "systems": list, "protocol": dict, "paths": dict}
_TABLES = {"clips.csv", "folds.csv", "classes.txt"}
_NEEDED = {
    "data": {"rows"},
    "posterior": {"rows", "content", "shards", "level"},
    "run": set(),
    "scores": set(),
}
_verified: set[tuple[object, ...]] = set()


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
        return own | _flat(self.config) | {f"content of {name}": value[:12] for name, value in self.inputs.items()}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``training.batch_size``."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return out


def content_hash(*parts: str | bytes) -> str:
    """sha256 over length-prefixed parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def hash_tables(tables: Tables) -> str:
    """Of all that clips, folds and classes say, for recipes of what is made by these or holds them."""
    return content_hash(*encode_tables(tables).values())


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


def commit(directory: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    """Replace an artifact by another (nothing by one) in one rename, its shards being in place; under a writer's lock.

    ``files`` are written beside the shards, and the manifest gets their hashes.
    """
    hashes = {name: atomic.sha256(data) for name, data in files.items()}
    replaced = _files_of(directory) - set(files)
    made_by = {"made_by": manifest["made_by"]}  # comes last
    complete = {**{key: v for key, v in manifest.items() if key not in made_by}, "files": hashes, **made_by}
    contents = {content_path(directory, name, hashes[name]): data for name, data in files.items()}
    atomic.write_together(contents, directory / NAME, _sealed(complete), "manifest")
    settle(directory, replaced)


def settle(directory: Path, replaced: Collection[str] = ()) -> None:
    """Bring the files of a manifest under their plain names; remove what it does not name and nobody reads.

    What is old goes first: files that wait for their names are the sign that this was not finished.
    """
    manifest = read(directory)
    files = {name: content_path(directory, name, sha256) for name, sha256 in manifest["files"].items()}
    named = {entry["file"] for entry in manifest.get("shards", [])} | {path.name for path in files.values()}
    with locks.without_readers(directory) as alone:
        old = [*directory.glob(f"{CONTENT_NAME}*"), *directory.glob("shard-*.h5")]
        for path in old if alone else []:
            if path.name not in named:
                path.unlink(missing_ok=True)
        for name in replaced:
            _keep(directory / name, alone)
            (directory / name).unlink(missing_ok=True)
        for name, path in files.items():
            atomic.fault("before-settle")
            if path.exists():
                _keep(directory / name, alone)
                path.replace(directory / name)  # not synced: under either name it is found
    for path in (*directory.glob(f"{locks.LOCK}-part*"), directory / parts.BEGUN):
        path.unlink(missing_ok=True)  # parts that wait for one hold it still, and find the manifest
    atomic.fault("after-settle")


def _keep(path: Path, alone: bool) -> None:
    """Keep the content of a file that is about to go at hand for those who read it."""
    if not alone and path.is_file():
        with contextlib.suppress(FileExistsError):
            os.link(path, content_path(path.parent, path.name, atomic.sha256_file(path)))


def content_path(directory: Path, name: str, sha256: str) -> Path:
    """Where a file lies while another of its name has its plain name."""
    return directory / f"{CONTENT_NAME}{sha256[:16]}-{name}"


def _files_of(directory: Path) -> set[str]:
    """The files of the artifact that is there, if one is."""
    try:
        return set(read(directory)["files"])
    except IntegrityError:  # none, or a damaged one
        return set()


def write(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of an artifact whose other files are all in place."""
    atomic.write_bytes(directory / NAME, _sealed(manifest), "manifest")


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """The bytes of a manifest, with a hash of those before it as last entry."""
    body = json.dumps(manifest, indent=1, ensure_ascii=False).encode().removesuffix(b"\n}")
    return body + b',\n "sha256": "' + atomic.sha256(body).encode() + b'"\n}\n'


def read(directory: Path, *kinds: str) -> dict[str, Any]:
    """An artifact's manifest; DataError for another kind than these, IntegrityError for a missing or damaged one."""
    path = directory / NAME
    if not directory.is_dir():
        raise DataError(f"{directory}: there is no such {' or '.join(kinds) or 'artifact'}")
    if not path.is_file():
        raise IntegrityError(f"{directory}: {_incomplete(directory)}")
    manifest = _decode(path, atomic.read_bytes(path))
    kind = manifest["kind"]
    if kinds and kind not in kinds:
        raise DataError(f"{directory}: is a store of kind {kind!r}, where {' or '.join(map(repr, kinds))} is needed")
    return manifest


def _decode(path: Path, data: bytes) -> dict[str, Any]:
    seal = _SEAL.search(data)
    body = data[: seal.start()] if seal else data
    try:
        manifest: dict[str, Any] = json.loads(body + b"\n}" if seal else body)
        # Manifests had no seal at first. They ended with what made them, which no damage to a seal can bring about.
        if (atomic.sha256(body) != seal[1].decode()) if seal else list(manifest)[-1] != "made_by":
            raise ValueError("its hash differs")
        if manifest["format"] != FORMAT:
            raise IntegrityError(f"{path}: has format {manifest['format']!r}; this asctool reads {FORMAT!r}")
        _check(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise IntegrityError(f"{path}: is damaged ({error}); make it again with --force") from error
    return manifest


def _check(manifest: Mapping[str, Any]) -> None:
    """ValueError and its like unless entries that others rely on are of their types, and names lead nowhere else."""
    for name, kind in _TYPES.items():
        if not isinstance(manifest[name], kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    for name, kind in _MORE_TYPES.items():
        if not isinstance(manifest.get(name, kind()), kind):
            raise ValueError(f"{name} is no {kind.__name__}")
    missing = _NEEDED.get(manifest["kind"], {"rows", "content", "shards"}) - set(manifest)
    missing |= (set() if manifest["kind"] in ("run", "scores") else _TABLES) - set(manifest["files"])
    if missing:
        raise ValueError(f"it has no {min(missing)}")
    if manifest["kind"] == "posterior" and not all(isinstance(v, dict) for v in manifest.get("protocol", {}).values()):
        raise ValueError("a protocol that is none")
    shards = manifest.get("shards", [])
    for entry in shards:
        if not (isinstance(entry["rows"], int) and entry["rows"] >= 0):
            raise ValueError(f"a shard of {entry['rows']!r} rows")
    for name, sha256 in [*manifest["files"].items(), *((entry["file"], entry["sha256"]) for entry in shards)]:
        if Path(name).name != name or name in ("", "..", NAME) or "\0" in name or not _SHA256.fullmatch(sha256):
            raise ValueError(f"a file {name!r}")


def read_file(directory: Path, name: str, sha256: str, verify: bool = True) -> bytes:
    """The bytes of a file or shard that a manifest names; IntegrityError when it is missing or was changed.

    EnvironmentFailure where the artifact was made anew since the manifest was read.
    """
    path, other = directory / name, content_path(directory, name, sha256)
    found = False
    for place in (other, path, other):  # a writer may be moving it from one to the other
        try:
            data = atomic.read_bytes(place)
        except FileNotFoundError:
            continue
        found = True
        if not verify or _is(place, data, sha256):
            return data
    if _was_remade(directory, name, sha256):
        raise EnvironmentFailure(f"{directory}: was made anew while it was read; run this again")
    reason = "is not what was written (its hash differs)" if found else "is missing"
    raise IntegrityError(f"{path}: {reason}; make it again with --force")


def _is(path: Path, data: bytes, sha256: str) -> bool:
    """Whether these are the bytes of that hash; computed once a process for a file that stays as it is."""
    with contextlib.suppress(FileNotFoundError):  # moved since it was read
        status = path.stat()
        key = (str(path), sha256, status.st_ino, status.st_mtime_ns, status.st_size)
        if key not in _verified and atomic.sha256(data) == sha256:
            _verified.add(key)
        return key in _verified
    return atomic.sha256(data) == sha256


def _was_remade(directory: Path, name: str, sha256: str) -> bool:
    """Whether the manifest that is there now knows nothing of this file."""
    with contextlib.suppress(OSError):
        data = atomic.read_bytes(directory / NAME)
        return name.encode() not in data or sha256.encode() not in data
    return False


def _incomplete(directory: Path) -> str:
    shards = Counter(tuple(path.stem.split("-")[3:5]) for path in directory.glob("shard-*-of-*-*.h5"))
    if shards:
        (total, _), n_shards = shards.most_common(1)[0]
        return f"incomplete: {n_shards} of {int(total)} shards; run the stage that writes it again"
    return f"is no complete artifact of asctool (it has no {NAME}); run the stage that writes it again"
