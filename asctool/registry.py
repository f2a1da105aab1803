"""The folder is the registry: a plug-in is a module of a package, found by its file name, imported when used."""

import ast
import difflib
import importlib
import importlib.util
import pkgutil
from pathlib import Path
from types import ModuleType

from asctool.errors import UsageError

ONE_OF = {
    "corpora": "corpus",
    "features": "feature",
    "models": "network",
    "transforms": "transform",
    "classifiers": "SVM kernel",
}


def names(package: str) -> list[str]:
    """Names of the plug-ins in ``asctool.<package>``, sorted; modules whose name begins with ``_`` are none."""
    return sorted(module.name for module in pkgutil.iter_modules(_folders(package)) if not module.name.startswith("_"))


def summary(package: str, name: str) -> str:
    """The first paragraph of a plug-in's docstring, read without importing it."""
    (path,) = (Path(folder) / f"{name}.py" for folder in _folders(package))
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).removesuffix(".")


def load(package: str, name: str) -> ModuleType:
    """The plug-in module; an unknown name raises UsageError that lists the known ones."""
    known = names(package)
    if name not in known:
        raise UsageError(unknown(ONE_OF.get(package, package), name, known))
    return importlib.import_module(f"asctool.{package}.{name}")


def unknown(what: str, given: str, known: list[str]) -> str:
    """One line for a name that is none of the known ones, with the nearest of them."""
    near = difflib.get_close_matches(given, known, n=1)
    guess = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {given!r}{guess} (known: {', '.join(known)})"


def _folders(package: str) -> list[str]:
    """Where a package lies; it is not imported, for what it imports itself may take seconds."""
    found = importlib.util.find_spec(f"asctool.{package}")
    return list(found.submodule_search_locations or []) if found else []
