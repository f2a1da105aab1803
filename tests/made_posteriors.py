"""Posterior stores of any content, written as the stages write them; and a second writer of one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asctool.storage import rebuild
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import write_rows

CLASSES = ("bus", "park", "tram")


def make_tables(
    n_clips: int = 12,
    n_folds: int = 3,
    labels: "list[tuple[str, ...]] | None" = None,
    classes: tuple[str, ...] = CLASSES,
    splits: str = "",
) -> Tables:
    """Clip i: class i mod 3, recording i // 2, city Rouen or Wien; fold k tests the clips i with i mod folds = k."""
    given = labels or [(classes[i % len(classes)],) for i in range(n_clips)]
    clips = tuple(
        Clip(
            f"clip{i:02d}",
            f"audio/clip{i:02d}.wav",
            given[i],
            f"recording{i // 2}",
            10.0,
            extra={"city": "Rouen" if i % 4 < 2 else "Wien"} | ({"splits": splits} if splits else {}),
        )
        for i in range(n_clips)
    )
    folds = tuple(
        FoldRow(fold + 1, clip.clip_id, "test" if i % n_folds == fold else "train")
        for fold in range(n_folds)
        for i, clip in enumerate(clips)
    )
    return Tables(clips, folds, classes)


def drawn(n_rows: int, n_classes: int = 3, seed: int = 0) -> np.ndarray:
    """Posteriors (row, class) without a pattern."""
    return np.random.default_rng(seed).dirichlet(np.ones(n_classes) / 2, n_rows).astype(np.float32)


def make_store(
    path: Path,
    tables: Tables,
    clip_ids: "list[str]",
    array: np.ndarray,
    system: str = "ours",
    fold: "int | list[int]" = 1,
    level: str = "clip",
    start: "list[float] | None" = None,
    subset: "str | list[str]" = "test",
    protocol: "dict[str, Any] | None" = None,
    kind: str = "posterior",
) -> Path:
    """A store of these rows."""
    n_rows = len(clip_ids)
    columns = {
        "clip_id": np.array(clip_ids),
        "start": np.array(start if start is not None else np.zeros(n_rows), float),
        "array": np.asarray(array, np.float32),
        "fold": np.broadcast_to(np.array(fold, np.int32), n_rows).copy(),
        "subset": np.broadcast_to(np.array(subset), n_rows).copy(),
        "system": np.full(n_rows, system),
    }
    path.mkdir(parents=True)
    recipe = Recipe(kind, "test", 1, {"path": str(path)})
    described = {"axes": ["row", "class"], "level": level, "systems": [system]}
    write_rows(path, recipe, tables, columns, **described, protocol={system: protocol or {"select": "last"}})
    return path


def clips_of(tables: Tables, fold: int) -> list[str]:
    """The clips that a fold tests."""
    return [row.clip_id for row in tables.folds if (row.fold, row.subset) == (fold, "test")]


def store_of_folds(
    path: Path, tables: Tables, system: str = "ours", seed: int = 0, **more: Any
) -> tuple[Path, dict[int, np.ndarray]]:
    """A store with drawn posteriors for the test clips of every fold, and what they are by fold."""
    ids = {fold: clips_of(tables, fold) for fold in tables.fold_numbers}
    arrays = {fold: drawn(len(of), len(tables.classes), 100 * seed + fold) for fold, of in ids.items()}
    folds = [fold for fold, of in ids.items() for _ in of]
    rows = np.concatenate(list(arrays.values()))
    make_store(path, tables, [clip for of in ids.values() for clip in of], rows, system, folds, **more)
    return path, arrays


def meanwhile(patch: pytest.MonkeyPatch, write: Callable[[], object]) -> None:
    """Have another writer come when the next stage has looked what is there, and has not begun to write."""
    look = rebuild.settled

    def settled(*given: Any, **more: Any) -> bool:
        patch.setattr(rebuild, "settled", look)
        found = look(*given, **more)
        write()
        return found

    patch.setattr(rebuild, "settled", settled)
