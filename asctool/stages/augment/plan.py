"""What augment is to make: transforms, their configurations, how many and from what seed."""

import inspect
from dataclasses import dataclass
from typing import Any

from asctool import registry
from asctool.errors import UsageError
from asctool.storage import settings

VERSION = 2
TAKES = {"samples": "clips", "first": "pairs", "features": "rows"}  # first argument of ``apply``: what is varied


@dataclass(frozen=True)
class Copies:
    """How many varied copies of each clip are made with each method, from what seed."""

    copies: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise UsageError(f"copies={self.copies}: must be 1 at least")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed}: 0 at least")


@dataclass(frozen=True)
class Rows:
    """How many mixed or masked rows are made, from what seed."""

    rows_per_row: float = 1.0  # for each training row
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rows_per_row > 0:
            raise UsageError(f"rows_per_row={self.rows_per_row}: must be above 0")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed}: 0 at least")


@dataclass(frozen=True)
class Plan:
    """Methods with their configurations; several only where clips are varied."""

    methods: dict[str, Any]
    own: Copies | Rows

    @property
    def options(self) -> dict[str, Any]:
        """All settings under their names."""
        configs = [settings.as_dict(config) for config in (self.own, *self.methods.values())]
        return {key: value for config in configs for key, value in config.items()}


def takes(method: str) -> str:
    """What a transform varies: clips, pairs of feature rows, or single rows; an unknown name is a UsageError."""
    known = registry.names("transforms")
    if method not in known:
        raise UsageError(registry.unknown("method", method, known))
    return TAKES[next(iter(inspect.signature(registry.load("transforms", method).apply).parameters))]


def configure(method: str, values: dict[str, Any]) -> Plan:
    """The settings of the stage and of the transforms (names joined by commas), from one mapping of names."""
    names = sorted({name.strip() for name in method.split(",")})
    for_clips = [takes(name) == "clips" for name in names]
    if len(names) > 1 and not all(for_clips):
        other = names[for_clips.index(False)]
        raise UsageError(f"--method {method}: {other} is for feature stores and stands alone; give one after the other")
    configs = [registry.load("transforms", name).Config for name in names]
    own, *made = settings.split(values, Copies if for_clips[0] else Rows, *configs)
    return Plan(dict(zip(names, made)), own)
