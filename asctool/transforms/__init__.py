"""One file an augmentation: drawing and applying apart."""
