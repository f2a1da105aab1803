"""The folder is the registry: a plug-in is a module of a package, found by its file name, imported when used."""

import difflib
import importlib
import pkgutil
from types import ModuleType

from asctool.errors import UsageError


def names(package: str) -> list[str]:
    """Names of the plug-ins in ``asctool.<package>``, sorted; modules whose name begins with ``_`` are none."""
    folder = importlib.import_module(f"asctool.{package}").__path__
    return sorted(module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_"))


def load(package: str, name: str) -> ModuleType:
    """The plug-in module; an unknown name raises UsageError that lists the known ones."""
    known = names(package)
    if name not in known:
        raise UsageError(unknown(f"{package} name", name, known))
    return importlib.import_module(f"asctool.{package}.{name}")


def unknown(what: str, given: str, known: list[str]) -> str:
    """One line for a name that is none of the known ones, with the nearest of them."""
    near = difflib.get_close_matches(given, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {given!r}{guess} (known: {', '.join(known)})"
