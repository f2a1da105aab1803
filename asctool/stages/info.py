"""info: what an artifact is, what made it, what it holds."""

from collections import Counter
from pathlib import Path
from typing import Any

from asctool.storage import manifest
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import Tables
from asctool.storage.store import KINDS, Store

SHOWN = 12  # entries of a long list or mapping


def info(artifact: Path) -> dict[str, Any]:
    """The manifest of an artifact, and counts of its tables."""
    found = manifest.read(artifact)
    if found["kind"] == "data":
        data = DataDirectory(artifact)
        return {**found, "description": data.description, "tables": _counts(data.tables)}
    if found["kind"] in KINDS:
        return {**found, "tables": _counts(Store(artifact).tables)}
    return found


def shortened(value: Any) -> Any:
    """The same with long lists and mappings cut, for people."""
    if isinstance(value, dict):
        items = list(value.items())
        cut = {key: shortened(entry) for key, entry in items[:SHOWN]} if len(items) > 3 * SHOWN else None
        if cut is not None:
            return cut | {"...": f"{len(items) - SHOWN} more"}
        return {key: shortened(entry) for key, entry in items}
    if isinstance(value, list) and len(value) > SHOWN:
        return [*map(shortened, value[:SHOWN]), f"... {len(value) - SHOWN} more"]
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    return value


def _counts(tables: Tables) -> dict[str, Any]:
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
