"""Signal processing on arrays: frames, filter banks, noise, delta."""
