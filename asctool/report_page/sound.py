"""Recordings small enough for a page: mono MP3, which every browser plays."""

import io

import numpy as np

RATE_HZ = 24_000  # up to 12 kHz: what tells sounds apart is heard; half of what 48 kHz would take
COMPRESSION = 0.7  # of libsndfile's 0 to 1, at a variable rate: 5 KB a second of noise, 1.5 of a quiet clip


def mp3(samples: np.ndarray) -> bytes:
    """An MP3 of mono samples (sample,) at RATE_HZ, full scale 1; louder ones are turned down, not cut off."""
    import soundfile

    peak = float(np.abs(samples).max(initial=0))
    file = io.BytesIO()
    soundfile.write(
        file,
        samples / max(peak, 1.0),
        RATE_HZ,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=COMPRESSION,
    )
    return file.getvalue()
