"""Faults injected into running stages: what the quick tests use, and the long version, ``python -m tests.soak``."""
