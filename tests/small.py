"""Every network of the folder, small: what the tests that go through all of them train and load."""

import dataclasses
from typing import Any

from asctool import registry
from asctool.models._layers import InputShape

SHAPES = {"feature": InputShape(2, 64, 40), "waveform": InputShape(2, 0, 16000)}  # by what a network takes
WIDE = 8  # of a layer; what a configuration has more of is made less
FEWER: dict[str, dict[str, Any]] = {"raw_resnet": {"blocks": 3}}  # what is small, and yet much


def shape_of(model: str) -> InputShape:
    """Rows that every network of its kind takes."""
    return SHAPES[registry.load("models", model).TAKES]


def small(model: str, wide: int = WIDE) -> Any:
    """The configuration of a network with every size above ``wide`` cut to half of that."""
    config = registry.load("models", model).Config()
    return dataclasses.replace(
        config, **{key: _less(value, wide) for key, value in vars(config).items()} | FEWER.get(model, {})
    )


def _less(value: Any, wide: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_less(entry, wide) for entry in value)
    return wide // 2 if isinstance(value, int) and value > wide else value
