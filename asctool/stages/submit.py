"""submit: posteriors of test clips as a csv, for a challenge or another program."""

import logging
from pathlib import Path, PurePosixPath

import numpy as np

from asctool import registry
from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion
from asctool.evaluation.tables import csv_text
from asctool.storage import atomic, posteriors, rehearsal
from asctool.storage.posteriors import Loaded

COLUMNS = ("posteriors", "labels", "both")
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
LISTED = 5  # missing clips told of one by one
log = logging.getLogger("asctool")


def submit(
    directory: Path,
    output: Path,
    columns: str = "posteriors",
    rule: str | None = None,
    allow_missing: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> bool:
    """Write a row for each test clip, in the order of clips.csv; False when the same file is there already.

    ``columns``: posteriors (clip_id and each class, what import_posteriors reads), labels (filename, scene_label) or
    both (labels and each class). ``rule`` joins what several folds say of a clip (the product; of tags the mean). Tabs
    for .tsv and .txt.
    """
    if columns not in COLUMNS:
        raise UsageError(registry.unknown("columns", columns, list(COLUMNS)))
    if rule is not None and rule not in fusion.RULES:
        raise UsageError(registry.unknown("rule", rule, list(fusion.RULES)))
    if output.suffix.lower() not in DELIMITERS:
        raise UsageError(f"{output}: its name must end in {', '.join(DELIMITERS)}")
    loaded = posteriors.load([directory], subsets=("test",), kinds=("posterior", "tag"))
    _check(loaded, directory, columns, allow_missing)
    clip_ids, values = _joined(loaded, rule)
    data = _text(loaded, clip_ids, values, columns, DELIMITERS[output.suffix.lower()]).encode()
    if output.exists() and not force:
        if output.is_file() and output.read_bytes() == data:
            return False
        raise UsageError(f"{output}: is there already, and is another one; give another output or --force")
    if dry_run:
        rehearsal.rehearse_file(output, "submit", len(data))
    atomic.write_bytes(output, data)
    return True


def _check(loaded: Loaded, directory: Path, columns: str, allow_missing: bool) -> None:
    """One system, whole clips, all of them."""
    if not loaded.blocks:
        raise DataError(f"{directory}: no test rows")
    systems = sorted({block.system for block in loaded.blocks})
    if len(systems) > 1:
        raise UsageError(f"{directory}: holds {', '.join(systems)}; fuse them to one first")
    if any(block.level != "clip" for block in loaded.blocks):
        raise UsageError(f"{directory}: holds segments; fuse them to clips first")
    if loaded.holds_tags and columns != "posteriors":
        raise UsageError(f"--columns {columns}: names one class a clip, and tags are several; take posteriors")
    for block in loaded.blocks:
        if block.missing:
            some = ", ".join(block.missing[:LISTED]) + (" ..." if len(block.missing) > LISTED else "")
            told = f"fold {block.fold}: {len(block.missing)} clips have no row: {some}"
            if not allow_missing:
                raise DataError(f"{directory}: {told}; --allow-missing leaves them out")
            log.warning("%s: %s; left out", directory, told)


def _joined(loaded: Loaded, rule: str | None) -> tuple[list[str], np.ndarray]:
    """Clips in the order of clips.csv, one row each (clip, class), whatever number of folds tested them."""
    ids = np.concatenate([block.clip_ids for block in loaded.blocks])
    rows = np.concatenate([block.posteriors for block in loaded.blocks])
    found = set(ids.tolist())
    clips = [clip.clip_id for clip in loaded.tables.clips if clip.clip_id in found]
    place = {clip_id: index for index, clip_id in enumerate(clips)}
    index = np.array([place[clip_id] for clip_id in ids.tolist()])
    if len(clips) == len(ids):
        return clips, rows[np.argsort(index)]
    rule = rule or ("mean" if loaded.holds_tags else "product")
    log.info("%d clips from %d folds, joined by the %s", len(clips), len({b.fold for b in loaded.blocks}), rule)
    if not loaded.holds_tags:
        return clips, fusion.segments_to_clips(rows, index, len(clips), rule)
    of_clip = np.split(rows[np.argsort(index, kind="stable")], np.cumsum(np.bincount(index))[:-1])
    return clips, np.stack([fusion.combine_tags(scores, rule) for scores in of_clip])


def _text(loaded: Loaded, clip_ids: list[str], values: np.ndarray, columns: str, delimiter: str) -> str:
    classes = loaded.tables.classes
    names = [PurePosixPath(loaded.tables.by_id[clip_id].path).name for clip_id in clip_ids]
    labels = [classes[index] for index in values.argmax(1)]
    numbers = [[f"{value:.9g}" for value in row] for row in values.tolist()]  # nine digits keep a float32
    if columns == "posteriors":
        return csv_text(["clip_id", *classes], ([clip, *row] for clip, row in zip(clip_ids, numbers)), delimiter)
    if columns == "labels":
        return csv_text(["filename", "scene_label"], zip(names, labels), delimiter)
    rows = ([name, label, *row] for name, label, row in zip(names, labels, numbers))
    return csv_text(["filename", "scene_label", *classes], rows, delimiter)
