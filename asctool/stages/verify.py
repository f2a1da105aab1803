"""verify: an artifact checked deeply: every hash, every row, every clip."""

import hashlib
from pathlib import Path

import numpy as np

from asctool.errors import IntegrityError
from asctool.storage import arrays, bundle, data_directory, manifest
from asctool.storage.data_directory import DataDirectory
from asctool.storage.run import MODEL, Run
from asctool.storage.shards import has_its_hashes
from asctool.storage.store import KINDS, Store


def verify(artifact: Path) -> str:
    """One line on what was found whole; IntegrityError names the first thing that is not."""
    if artifact.is_file():
        found_bundle = bundle.read(artifact)
        return f"whole: bundle of {len(found_bundle.networks)} networks, {len(found_bundle.arrays)} arrays"
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
    for name, sha256 in data.manifest["files"].items():
        manifest.read_file(artifact, name, sha256)
    for clip in {clip.path: clip for clip in data.tables.clips}.values():
        data_directory.check_audio(data, clip, thoroughly=True)
    return (
        f"whole: {len(data.tables.clips)} clips in {len(data.description['files'])} audio files, unchanged since prep"
    )


def _verify_store(artifact: Path) -> str:
    store = Store(artifact)
    known = set(store.tables.by_id)
    n_rows, content = 0, hashlib.sha256()
    for entry, columns in zip(store.manifest["shards"], store.shards()):
        where = artifact / entry["file"]
        if not np.isfinite(columns["array"]).all():
            raise IntegrityError(f"{where}: holds values that are not finite")
        strangers = set(columns["clip_id"].tolist()) - known
        if strangers:
            raise IntegrityError(f"{where}: holds clips that are in no table: {', '.join(sorted(strangers)[:5])}")
        if not has_its_hashes(columns):
            raise IntegrityError(f"{where}: holds rows that are not what their hashes say")
        content.update(columns["row_hash"].tobytes())
        n_rows += len(columns["clip_id"])
    for name in store.manifest["files"]:
        data = store.read_file(name)
        if name.endswith(".h5"):  # the machine of svm, the weights of fuse
            arrays.decode(data)
    if n_rows != store.manifest["rows"]:
        raise IntegrityError(f"{artifact}: {n_rows} rows where {store.manifest['rows']} are promised")
    if content.hexdigest() != store.content:
        raise IntegrityError(f"{artifact}: its rows are not those that its manifest promises; make it again")
    return f"whole: {store.kind} store, {n_rows} rows in {len(store.manifest['shards'])} shards"


def _verify_run(artifact: Path) -> str:
    from asctool.training import checkpoint, loading

    run = Run(artifact)
    for name in run.manifest["files"]:
        run.read_file(name)
    trained = loading.load(run.model(), artifact / MODEL)
    if trained.config != run.config or checkpoint.weights_hash(trained.network) != run.content:
        raise IntegrityError(f"{artifact}: {MODEL} and the manifest are of two trainings; train it again")
    return (
        f"whole: run of {run.config['model']}, fold {run.config['fold']}, {run.manifest['protocol']['epochs']} epochs"
    )
