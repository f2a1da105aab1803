"""Folds to cross-fit tags with: ``python parts.py DATA TABLE`` writes a table that ``prep table`` reads.

Fold ij (12, 13, ... 45) trains on every fold but i and j, tests on the test clips of fold i and validates on those of
fold j. A network trained on it has heard neither, so that its tags of either are those of a stranger.
"""

import csv
import sys
from itertools import combinations
from pathlib import Path

from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import audio_path, join_labels

COLUMNS = ("clip_id", "path", "labels", "group", "fold", "subset")


def main(data_directory: Path, output: Path) -> None:
    """Every clip once for each pair of folds."""
    tables = DataDirectory(data_directory).tables
    home = {row.clip_id: row.fold for row in tables.folds if row.subset == "test"}
    with output.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i, j in combinations(tables.fold_numbers, 2):
            subset = {i: "test", j: "valid"}
            for clip in tables.clips:
                path = audio_path(clip, data_directory.resolve())
                own = [clip.clip_id, path, join_labels(clip.labels), clip.group]
                writer.writerow([*own, 10 * i + j, subset.get(home[clip.clip_id], "train")])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
