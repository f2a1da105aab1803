"""``python -m benchmarks.scoring``: seconds of fuse and score on LITIS Rouen's size, from made posteriors.

3026 clips of 15 segments, 20 splits, 6 systems: a store for each split and system, 5.4 million rows in all, as extract
writes them, of which a split's 607 test clips are judged (``--test-rows``: stores of test rows alone, 1.1 million, as
svm writes them; ``--all-rows``: every clip is a test clip in every split). The mark is 20 s for all of it.
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from asctool.corpora import _litis_splits
from asctool.corpora.litis import CLIPS_A_CLASS
from asctool.stages import fuse, score
from asctool.storage import manifest
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import write_rows
from benchmarks.rows import machine

N_SEGMENTS, N_SYSTEMS = 15, 6
SEGMENT_SECONDS = 2.0
AT_MOST_SECONDS = 20.0


def make_tables(all_test: bool) -> Tables:
    """Clips with the names and counts of LITIS Rouen, in made splits, or with every clip a test clip in all of them."""
    clips = tuple(
        Clip(f"{label}{n}", f"{label}{n}.wav", (label,), f"{label}{n}", 30.0)
        for label, count in CLIPS_A_CLASS.items()
        for n in range(1, count + 1)
    )
    folds = _litis_splits.make(clips, seed=0)
    if all_test:
        folds = [FoldRow(row.fold, row.clip_id, "test") for row in folds]
    return Tables(clips, tuple(folds), tuple(CLIPS_A_CLASS))


def make_store(path: Path, tables: Tables, split: int, system: int, test_rows: bool) -> Path:
    """Posteriors of one system in one split, right more often than not."""
    subset_of = tables.subset_of(split)
    clips = [clip for clip in tables.clips if not test_rows or subset_of[clip.clip_id] == "test"]
    ids = np.repeat([clip.clip_id for clip in clips], N_SEGMENTS)
    random = np.random.default_rng([split, system])
    truth = np.repeat(tables.targets(clip.clip_id for clip in clips), N_SEGMENTS, axis=0)
    logits = random.normal(size=truth.shape) + (3 + 0.2 * system) * truth
    posteriors = np.exp(logits)
    columns = {
        "clip_id": ids,
        "start": np.tile(SEGMENT_SECONDS * np.arange(N_SEGMENTS), len(clips)),
        "array": (posteriors / posteriors.sum(1, keepdims=True)).astype(np.float32),
        "fold": np.full(len(ids), split, np.int32),
        "subset": np.repeat([subset_of[clip.clip_id] for clip in clips], N_SEGMENTS),
        "system": np.full(len(ids), f"system {system}"),
    }
    recipe = Recipe("posterior", "benchmark", 1, {"split": split, "system": system})
    path.mkdir()
    write_rows(path, recipe, tables, columns, axes=["row", "class"], level="segment", systems=[f"system {system}"])
    return path


def main() -> None:
    """Make the stores, then fuse and score them as a person would."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--test-rows", action="store_true", help="stores hold test rows alone, as svm writes them")
    parser.add_argument("--all-rows", action="store_true", help="all 3026 clips are tested in every split, not 607")
    parser.add_argument("--profile", action="store_true", help="the functions that take most of it")
    given = parser.parse_args()
    tables = make_tables(given.all_rows)
    with tempfile.TemporaryDirectory(prefix="asctool-benchmark-") as folder:
        base = Path(folder)
        stores = [
            make_store(base / f"{split}-{system}", tables, split, system, given.test_rows)
            for split in range(1, given.splits + 1)
            for system in range(N_SYSTEMS)
        ]
        manifest._verified.clear()  # as in a new process: every hash is checked again
        profile = cProfile.Profile()
        if given.profile:
            profile.enable()
        one = [path for path in stores if path.name.endswith("-0")]
        seconds = {
            "fuse: a system's segments to clips": _timed(lambda: fuse.fuse(one, base / "clips")),
            "fuse: six systems to one, clips": _timed(lambda: fuse.fuse(stores, base / "fused", system="fused")),
        }
        results = [*stores, base / "clips", base / "fused"]
        scores: list[score.Scores] = []
        seconds["score: all of them, two compared"] = _timed(
            lambda: scores.append(score.score(results, compared=("system 0", "fused")))
        )
        seconds["score --out: tables and figures"] = _timed(lambda: score.write(scores[0], base / "scores", False))
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    total = tuple(map(sum, zip(*seconds.values())))
    for what, (wall, processor) in {**seconds, "in all": total}.items():
        print(f"{what:40} {wall:6.2f} s, {processor:6.2f} s of processor time")
    print(f"at most {AT_MOST_SECONDS:g} s in all, on an idle machine; {machine()}")


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Seconds that passed, and seconds of the processor: on a busy machine the second is what counts."""
    start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start[0], time.process_time() - start[1]


if __name__ == "__main__":
    main()
