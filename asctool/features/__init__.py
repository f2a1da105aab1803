"""One file a feature type: samples in, (band, frame) out."""
