"""Configurations: frozen dataclasses filled from a preset, a TOML file and ``key=value`` overrides."""

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from asctool.errors import UsageError
from asctool.registry import unknown

T = TypeVar("T")
PRESETS = Path(__file__).parent.parent / "presets"
SECTIONS = ("prep", "denoise", "featurize", "augment", "train", "svm")  # the commands that take --config


def read_section(name_or_file: str | None, section: str) -> dict[str, Any]:
    """The section of a preset (by name) or of a TOML file that is meant for one stage; empty where there is none.

    Sections of other stages may stand beside it. What no stage would read is a UsageError.
    """
    if name_or_file is None:
        return {}
    presets = {path.stem: path for path in sorted(PRESETS.glob("*.toml"))}
    path = presets.get(name_or_file, Path(name_or_file))
    if not path.is_file():
        raise UsageError(unknown("preset or file", name_or_file, list(presets)))
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: {error}") from error
    for name, value in found.items():
        _check_section(path, name, value, section)
    return dict(found.get(section, {}))


def _check_section(path: Path, name: str, value: Any, section: str) -> None:
    """UsageError for what stands at the top of a file and is no section of a stage."""
    if name in SECTIONS:
        if not isinstance(value, dict):
            raise UsageError(f"{path}: {name} is no section; write [{name}] above its settings")
    elif isinstance(value, dict):
        raise UsageError(f"{path}: {unknown('section', f'[{name}]', [f'[{known}]' for known in SECTIONS])}")
    else:
        raise UsageError(
            f"{path}: {name!r} stands outside the sections, where no command reads it; write [{section}] above it"
        )


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """``key=value`` texts as a mapping; a value is TOML, or a plain string where it is none."""
    out = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes key=value, not {pair!r}")
        try:
            out[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):  # the latter of brackets without end
            out[key.strip()] = text
    return out


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a configuration dataclass; an unknown name, a wrong type or a value not finite is a UsageError."""
    (instance,) = split(values, cls)
    return instance


def split(values: Mapping[str, Any], *classes: type) -> tuple[Any, ...]:
    """Several configurations filled from one mapping, each key going to the class that has a field of its name."""
    hints = [typing.get_type_hints(cls) for cls in classes]
    known = [name for cls in classes for name in _field_names(cls)]
    chosen: list[dict[str, Any]] = [{} for _ in classes]
    for key, value in values.items():
        if key not in known:
            raise UsageError(unknown("setting", key, sorted(known)))
        for index, cls in enumerate(classes):
            if key in _field_names(cls):
                chosen[index][key] = _coerce(key, value, hints[index][key])
    for cls, given in zip(classes, chosen):
        missing = [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in given]
        if missing:
            raise UsageError(f"{', '.join(missing)} must be given (--set {missing[0]}=...): there is no default")
    return tuple(cls(**given) for cls, given in zip(classes, chosen))


def as_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(config).items()}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for every entry that differs."""
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key}: {old.get(key, '(none)')} -> {new.get(key, '(none)')}" for key in keys]


def _field_names(cls: type) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _coerce(key: str, value: Any, hint: Any) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value == "none" and types.NoneType in options:
        return None
    for option in options:
        origin = typing.get_origin(option) or option
        if origin is tuple and isinstance(value, list | tuple):
            item = typing.get_args(option)[0]
            return tuple(_coerce(key, entry, item) for entry in value)
        if origin is typing.Literal and value in typing.get_args(option):
            return value
        if origin is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        if origin is Path and isinstance(value, str | Path):
            return Path(value)
        if origin in (int, str, bool) and type(value) is origin:
            return value
        if origin is str and isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if value is None and option is types.NoneType:
            return None
    raise UsageError(f"{key}={value!r}: expected {_describe(hint)}")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(map(str, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
