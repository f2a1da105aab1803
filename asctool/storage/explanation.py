"""An artifact in words: what it is, what it holds, what chose what, where it came from up to the audio."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asctool.storage import bundle, manifest, origins
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import Tables
from asctool.storage.origins import Origin
from asctool.storage.rehearsal import size
from asctool.storage.store import KINDS, Store

NAMED = 3  # files that are gone told of one by one
NO_PATHS = ("prep", "score")  # stages whose inputs are no artifacts of asctool


def explain(artifact: Path) -> dict[str, Any]:
    """The manifest of an artifact, and beside it: ``is``, ``bytes``, ``tables``, ``description``, ``made_from``.

    ``lost`` has a line on everything behind it that is gone, was made anew since, or is not told by its manifest.
    """
    found = manifest.read(artifact)
    own = Origin(artifact, found)
    if found["kind"] == "data":
        data = DataDirectory(artifact)
        found = {**found, "description": data.description, "tables": counts(data.tables)}
    elif found["kind"] in KINDS:
        found = {**found, "tables": counts(Store(artifact).tables)}
    followed = origins.follow([artifact])
    behind = [{"path": str(origin.path), "kind": origin.kind, "is": _is(origin)} for origin in followed.origins[1:]]
    lost = [*followed.lost, *(line for origin in followed.origins for line in _untold(origin))]
    return {**found, "is": _is(own), "bytes": _n_bytes(artifact), "made_from": behind, "lost": lost}


def is_bundle(path: Path) -> bool:
    """Whether a file begins as one of safetensors: the length of its header, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def explain_bundle(path: Path) -> dict[str, Any]:
    """What a bundle holds."""
    found = bundle.read(path)
    systems = [found.steps[place].system for place in found.results]
    return {
        "kind": "bundle",
        "is": f"bundle of {', '.join(systems)}: networks: {len(found.networks)}, classes: {len(found.classes)}",
        "datasets": found.datasets,
        "bytes": path.stat().st_size,
        "classes": list(found.classes),
        "steps": [
            {key: value for key, value in vars(step).items() if value not in ("", -1, ())} for step in found.steps
        ],
        "networks": [dict(network["config"]) for network in found.networks],
        "made_by": dict(found.made_by),
    }


def counts(tables: Tables) -> dict[str, Any]:
    """Clips, copies, groups, classes, and the clips of each subset of each fold."""
    rows = Counter((row.fold, row.subset) for row in tables.folds)
    return {
        "clips": len(tables.clips),
        "copies": sum(clip.is_copy for clip in tables.clips),
        "groups": len({clip.group for clip in tables.clips}),
        "classes": list(tables.classes),
        "folds": {
            str(fold): {subset: rows[fold, subset] for subset in ("train", "valid", "test") if rows[fold, subset]}
            for fold in tables.fold_numbers
        },
    }


def for_people(found: Mapping[str, Any]) -> dict[str, Any]:
    """What of an explanation a person reads: words first, no hashes, nothing that is long because the corpus is."""
    made_by = found.get("made_by", {})
    tables, behind = found.get("tables", {}), found.get("made_from", [])
    told: dict[str, Any] = {
        "is": found["is"],
        "on disk": f"{size(found['bytes'])} in {len(found['shards'])} shards"
        if "shards" in found
        else size(found["bytes"]),
        "chosen": _chosen(found.get("protocol", {})),
        "classes": tables.get("classes", found.get("classes", [])),
        "clips of each fold": {fold: _subsets(parts) for fold, parts in tables.get("folds", {}).items()},
        "corpus": _corpus(found.get("description", {})),
        "settings": found.get("config", {}),
        "steps": found.get("steps", []),
        "trained on": [", ".join(filter(None, entry.values())) for entry in found.get("datasets", [])],
        "made by": f"{made_by.get('command', 'asctool')} (version {made_by.get('asctool', '?')})",
        "made from": {entry["path"]: entry["is"] for entry in behind if entry["kind"] != "data"},
        "of the recordings in": {entry["path"]: entry["is"] for entry in behind if entry["kind"] == "data"},
        "not found": dict(enumerate(found.get("lost", []), 1)),
    }
    return {key: value for key, value in told.items() if value not in ({}, [], "")}


def _is(origin: Origin) -> str:
    """One line."""
    found, kind = origin.manifest, origin.kind
    if kind == "data":
        return _data(DataDirectory(origin.path), found["stage"])
    if kind == "run":
        config = found["config"]
        epochs = found.get("protocol", {}).get("epochs", "?")
        return (
            f"run: {config['model']} on {config['features'].get('type', '?')}, fold {config['fold']}, {epochs} epochs"
        )
    if kind == "scores":
        return f"scores of {', '.join(found['config']['systems'])}"
    return _store(Store(origin.path), found)


def _data(data: DataDirectory, stage: str) -> str:
    description = data.description
    files = [str(path) for path in description["files"]]
    gone = [path for path in files if not (data.path / path).is_file()]
    some = ", ".join(gone[:NAMED]) + (" ..." if len(gone) > NAMED else "")
    there = (
        f"{len(gone)} of {len(files)} audio files are gone: {some}" if gone else f"all {len(files)} audio files there"
    )
    what = f"{len(data.tables.clips)} clips, {description['seconds']:.0f} s, {len(data.tables.classes)} classes"
    return f"data directory of {description['name']} by {stage}: {what}; {there}"


def _store(store: Store, found: Mapping[str, Any]) -> str:
    of = f" of {', '.join(found['systems'])}" if "systems" in found else ""
    name = found["config"].get("type", "")
    level = f", {found['level']}s" if "level" in found else ""
    fold = f", fold {found['fold']}" if found.get("fold") is not None else ""
    made = f"{found['stage']} ({name})" if name else found["stage"]
    return f"{found['kind']} store{of} by {made}: {_rows(store, found)}{level}{fold}"


def _rows(store: Store, found: Mapping[str, Any]) -> str:
    """Number and shape of the rows, as its first shard has them."""
    first = next(store.shards(("array", "length")), None)
    axes = [axis for axis in found.get("axes", []) if axis != "row"]
    if first is None or "length" in first:
        return f"{found['rows']} rows of unequal lengths ({', '.join(axes)})"
    return f"{found['rows']} rows of {' x '.join(map(str, first['array'].shape[1:]))} ({', '.join(axes)})"


def _untold(origin: Origin) -> list[str]:
    """A line where a manifest does not say where its inputs lie, as older ones did not."""
    if origin.manifest["stage"] in NO_PATHS or origin.manifest.get("paths"):
        return []
    return [f"{origin.path} does not say where the {origin.manifest['stage']} that made it read from"]


def _chosen(protocol: Mapping[str, Any]) -> dict[str, str]:
    """What chose the epoch and all else, by system; of a fused system that of each of its parts."""
    told: dict[str, str] = {}
    systems = {"epoch": protocol} if "select" in protocol else protocol
    for system, entry in systems.items():
        if "of" in entry:
            told |= _chosen(entry["of"]) | {system: str(entry.get("fusion", ""))}
        else:
            known = {
                key: value for key, value in entry.items() if key not in ("select", "epoch", "epochs", "monitored")
            }
            epoch = f"{entry['select']} epoch ({entry.get('epoch', '?')} of {entry.get('epochs', '?')})"
            told[system] = "; ".join([epoch, *(f"{key}: {value}" for key, value in known.items())])
    return told


def _subsets(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {subset}" for subset, count in parts.items())


def _corpus(description: Mapping[str, Any]) -> dict[str, Any]:
    if not description:
        return {}
    kept = ("name", "licence", "clips", "seconds", "classes", "sample_rates", "folds", "copies", "warnings", "rejected")
    return {key: description[key] for key in kept if description.get(key)}


def _n_bytes(artifact: Path) -> int:
    return sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
