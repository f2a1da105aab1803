"""Spectrograms of some clips from the features that networks saw, and the networks' attention to them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asctool.errors import AsctoolError
from asctool.report_page import spectrogram
from asctool.report_page.values import Attention, Picture
from asctool.storage.origins import Followed, Origin
from asctool.storage.run import Run
from asctool.storage.store import Store

SPECTRAL = ["channel", "band", "frame"]
Rows = tuple[np.ndarray, np.ndarray]  # start of each row in seconds (row,), its array (row, ...)


@dataclass
class Pictures:
    """What was found of each clip, by its id."""

    picture: dict[str, Picture] = field(default_factory=dict)
    attention: dict[str, tuple[Attention, ...]] = field(default_factory=dict)
    attended_by: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def pictures(followed: Followed, fold_of: Mapping[str, int]) -> Pictures:
    """Pictures of clips, each with the attention of a network of the fold that tests it, where there is one.

    Attention that was extracted comes before attention that is computed here; what cannot be read is told.
    """
    found, sources = Pictures(), _Features(followed, set(fold_of))
    for fold in sorted(set(fold_of.values())):
        clips = {clip_id for clip_id, own in fold_of.items() if own == fold}
        for origin in _of_fold(followed, fold):
            if clips:
                try:
                    clips -= _add(found, origin, sources, clips)
                except AsctoolError as error:
                    found.problems.append(f"No attention of {origin.path.name}: {error}")
    for origin in followed.of_kind("feature"):
        left = set(fold_of) - set(found.picture)
        if left:
            try:
                found.picture |= _drawn(*sources.of(origin.path), left)
            except AsctoolError as error:
                found.problems.append(f"No spectrograms of {origin.path.name}: {error}")
    return found


class _Features:
    """The rows of the wanted clips in each feature store, read once."""

    def __init__(self, followed: Followed, clip_ids: set[str]) -> None:
        self.known = {origin.path.resolve() for origin in followed.of_kind("feature")}
        self.clip_ids = clip_ids
        self.read: dict[Path, tuple[Store, dict[str, Rows]]] = {}

    def of(self, path: Path) -> tuple[Store, dict[str, Rows]]:
        """A store and its rows; none where it is gone, is another one by now, or holds no spectra."""
        path = path.resolve()
        if path not in self.read:
            store = Store(path)
            usable = path in self.known and store.manifest.get("axes") == SPECTRAL
            self.read[path] = (store, rows_of(store, self.clip_ids) if usable else {})
        return self.read[path]


def _of_fold(followed: Followed, fold: int) -> list[Origin]:
    """What extract wrote in a fold, attention first, then one store for each run."""
    extracted = [o for o in followed.origins if o.manifest["stage"] == "extract" and o.manifest.get("fold") == fold]
    by_run: dict[str, Origin] = {}
    for origin in extracted:
        if origin.kind in ("embedding", "posterior"):
            by_run.setdefault(origin.manifest["inputs"]["run"], origin)
    return [origin for origin in extracted if origin.kind == "attention"] + list(by_run.values())


def _add(found: Pictures, origin: Origin, sources: _Features, clips: set[str]) -> set[str]:
    """Add attention to clips, and pictures of the features that it is to; the clips of which there is some."""
    parent = origin.path.resolve().parent
    features, rows = sources.of(parent / origin.manifest["paths"]["features"])
    rows = {clip_id: of_clip for clip_id, of_clip in rows.items() if clip_id in clips}
    if origin.kind == "attention":
        weights = rows_of(Store(origin.path), set(rows))
    else:
        from asctool.training.attended import attend  # which imports torch

        weights = attend(Run(parent / origin.manifest["paths"]["run"]), rows)
    for clip_id, (starts, array) in weights.items():
        seconds = float(features.manifest["frame_seconds"]) * rows[clip_id][1].shape[-1]
        found.attention[clip_id] = tuple(Attention(float(s), seconds, w) for s, w in zip(starts, array))
        found.attended_by[clip_id] = f"{_without_kind(origin)}, fold {origin.manifest['fold']}"
    found.picture |= _drawn(features, rows, set(weights))
    return set(weights)


def _without_kind(origin: Origin) -> str:
    """The network and its features: attention is the same whatever reads the network's output."""
    return str(origin.manifest["systems"][0]).removesuffix(" softmax")


def _drawn(store: Store, rows: Mapping[str, Rows], clips: set[str]) -> dict[str, Picture]:
    """The first channel of each clip, which is the recording itself."""
    out = {}
    for clip_id in clips & set(rows):
        starts, array = rows[clip_id]
        hop = float(store.manifest["frame_seconds"])
        levels = spectrogram.join(array[:, 0].astype(np.float32), starts.tolist(), hop)
        bands = store.manifest.get("band_hz") or [0.0, store.feature_config["sample_rate"] / 2]
        seconds = hop * levels.shape[1]
        name = str(store.feature_config["type"])
        out[clip_id] = Picture(spectrogram.png(levels), seconds, float(bands[0]), float(bands[-1]), name)
    return out


def rows_of(store: Store, clip_ids: Collection[str]) -> dict[str, Rows]:
    """The rows of some clips in a store of equally shaped ones, by clip, in the order of time."""
    parts: dict[str, list[Rows]] = {}
    wanted = np.array(sorted(clip_ids))
    for columns in store.shards(("clip_id", "start", "array")):
        kept = np.isin(columns["clip_id"], wanted)
        ids, starts, arrays = (columns[name][kept] for name in ("clip_id", "start", "array"))
        for clip_id in np.unique(ids).tolist():
            own = ids == clip_id
            parts.setdefault(clip_id, []).append((starts[own], arrays[own]))
    out = {}
    for clip_id, found in parts.items():
        start, array = (np.concatenate(values) for values in zip(*found))
        order = np.argsort(start, kind="stable")
        out[clip_id] = (start[order], array[order])
    return out
