"""One file a corpus: how it lies on disk, its labels, groups and folds."""
