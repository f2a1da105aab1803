"""verify: an artifact checked deeply: every hash, every row, every clip."""

from pathlib import Path

import numpy as np

from asctool.errors import IntegrityError
from asctool.storage import data_directory, manifest
from asctool.storage.data_directory import DataDirectory
from asctool.storage.run import Run
from asctool.storage.store import KINDS, Store


def verify(artifact: Path) -> str:
    """One line on what was found whole; IntegrityError names the first thing that is not."""
    found = manifest.read(artifact)
    kind = found["kind"]
    if kind == "scores":
        for name, sha256 in found["files"].items():
            manifest.read_file(artifact, name, sha256)
        return f"whole: scores of {', '.join(found['config']['systems'])}"
    if kind == "data":
        return _verify_data(artifact)
    if kind in KINDS:
        return _verify_store(artifact)
    return _verify_run(artifact)


def _verify_data(artifact: Path) -> str:
    data = DataDirectory(artifact)
    for clip in {clip.path: clip for clip in data.tables.clips}.values():
        data_directory.check_audio(data, clip)
    return (
        f"whole: {len(data.tables.clips)} clips in {len(data.description['files'])} audio files, unchanged since prep"
    )


def _verify_store(artifact: Path) -> str:
    store = Store(artifact)
    known = set(store.tables.by_id)
    n_rows = 0
    for entry, columns in zip(store.manifest["shards"], store.shards()):
        where = artifact / entry["file"]
        if not np.isfinite(columns["array"]).all():
            raise IntegrityError(f"{where}: holds values that are not finite")
        strangers = set(columns["clip_id"].tolist()) - known
        if strangers:
            raise IntegrityError(f"{where}: holds clips that are in no table: {', '.join(sorted(strangers)[:5])}")
        n_rows += len(columns["clip_id"])
    for name in store.manifest["files"]:
        store.read_file(name)
    if n_rows != store.manifest["rows"]:
        raise IntegrityError(f"{artifact}: {n_rows} rows where {store.manifest['rows']} are promised")
    return f"whole: {store.kind} store, {n_rows} rows in {len(store.manifest['shards'])} shards"


def _verify_run(artifact: Path) -> str:
    import torch

    from asctool.training import checkpoint

    run = Run(artifact)
    for name in run.manifest["files"]:
        run.read_file(name)
    weights = checkpoint.decode(run.model(), torch.device("cpu"))["weights"]
    if not all(bool(torch.isfinite(value).all()) for value in weights.values()):
        raise IntegrityError(f"{artifact}: holds weights that are not finite")
    return (
        f"whole: run of {run.config['model']}, fold {run.config['fold']}, {run.manifest['protocol']['epochs']} epochs"
    )
