"""Audio files, data directories, stores, runs, atomic output."""
