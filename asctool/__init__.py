"""Composable stages for acoustic scene and environmental sound classification."""

__version__ = "0.1.0"
