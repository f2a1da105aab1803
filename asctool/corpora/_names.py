"""What every reader asks of names: ids that are unique, and names that a table can hold and a person can tell apart."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence


def name_problem(name: str) -> str:
    """Why a file name, a label or an id cannot stand in a table, or an empty string."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not UTF-8; rename it"
    if any(unicodedata.category(char) == "Cc" for char in name):
        return "holds a control character such as a line break or a tab; rename it"
    return ""


def ids_of_paths(paths: Sequence[str]) -> list[str]:
    """An id for each of several different paths: without the extension, or with it where two would have the same."""
    stems = [_without_extension(path) for path in paths]
    taken = Counter(stems) + Counter(set(paths))
    return [path if taken[stem] > 1 else stem for path, stem in zip(paths, stems)]


def look_alikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different names that read the same: composed (NFC) and decomposed (NFD) Unicode."""
    return _pairs(names, lambda name: unicodedata.normalize("NFC", name))


def case_twins(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different names that differ in upper and lower case alone."""
    return _pairs(names, lambda name: unicodedata.normalize("NFC", name).casefold())


def warn_of_case(what: str, names: Iterable[str]) -> list[str]:
    """A warning for each pair of names that a disk or a reader without case would take for one."""
    return [f"{what} differ in upper and lower case alone: {a!r} and {b!r}" for a, b in case_twins(names)]


def shortened(names: Sequence[str], count: int = 3) -> str:
    """The first of several names, and how many more there are."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _without_extension(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0]
    return folder + slash + (stem or name)


def _pairs(names: Iterable[str], key: Callable[[str], str]) -> list[tuple[str, str]]:
    alike = defaultdict(list)
    for name in dict.fromkeys(names):
        alike[key(name)].append(name)
    return [(first, other) for first, *others in alike.values() for other in others]
