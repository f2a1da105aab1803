"""What chose a result's epoch, kernel and weights, in words; and whether test data had a part in it.

A protocol is the mapping that runs and posterior stores carry: ``select`` (last, valid, test), ``kernel and C``,
``fusion`` and, of a fused system, the protocols of its parts under ``of``. Folds that differ hold a list in its place.
"""

from collections.abc import Iterator, Mapping
from typing import Any

ON_TEST = " (on test data!)"
MARK = " (chosen on test data!)"
ASPECTS = {"select": "epoch", "kernel and C": "kernel and C", "fusion": "fusion"}  # what a table's heading tells of
UNKNOWN = "not known"


def choices(protocol: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """For epoch, kernel and C, and fusion, all that chose them in the parts of a system."""
    found: dict[str, dict[str, None]] = {name: {} for name in ASPECTS.values()}
    for part in _parts(protocol):
        for key, name in ASPECTS.items():
            for value in _listed(part.get(key)):
                found[name][_word(value)] = None
        if "of" not in part and "select" not in part:
            found["epoch"][UNKNOWN] = None
    return {name: tuple(sorted(words)) for name, words in found.items() if words}


def chosen_epoch(protocol: Mapping[str, Any]) -> str:
    """What chose the epoch; of a fused system, what chose those of its parts."""
    return " ".join(choices(protocol).get("epoch", (UNKNOWN,)))


def selected_on_test(protocol: Mapping[str, Any]) -> bool:
    """Whether anything about a system, or about a part of it, was chosen on test data."""
    return any(word.endswith(ON_TEST) for words in choices(protocol).values() for word in words)


def marked(system: str, protocol: Mapping[str, Any]) -> str:
    """The name of a system as tables and figures show it."""
    return system + MARK if selected_on_test(protocol) else system


def _word(value: Any) -> str:
    """A choice in words; whatever names test data is marked."""
    return f"{value}{ON_TEST}" if "test" in str(value).lower().split() else str(value)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _parts(protocol: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield protocol
    for part in protocol.get("of", {}).values():
        yield from _parts(part)
