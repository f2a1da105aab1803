"""list: every feature, network, corpus, transform, SVM kernel, preset and fusion rule there is, and its settings.

The lines come from the plug-ins' own docstrings, which are read, not imported: the list is there at once.
"""

import ast
import dataclasses
import inspect
import io
import re
import textwrap
import tokenize
from pathlib import Path
from typing import Any

import asctool
from asctool import registry
from asctool.errors import UsageError
from asctool.storage import settings

PACKAGES = {
    "features": "features",
    "networks": "models",
    "corpora": "corpora",
    "transforms": "transforms",
    "kernels": "classifiers",
}  # what a user calls them -> the folder in which they lie
PRESETS = "presets"
RULES = "fusion rules"
_RULE = re.compile(r"^- ((?:``\w+``(?:, )?)+): (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A setting as ``--set`` takes it; the default is None where it must be given."""

    name: str
    type: str
    default: str | None
    meaning: str  # the comment beside it in the code: unit, choices, source


def list_(only: str | None = None) -> dict[str, dict[str, str]]:
    """A line on everything by group and name; of one group, where it is named."""
    groups = {
        group: {name: registry.summary(package, name) for name in registry.names(package)}
        for group, package in PACKAGES.items()
    }
    groups |= {PRESETS: _presets(), RULES: _rules()}
    if only is None:
        return groups
    return {only: groups[only]} if only in groups else {}


def readable(found: dict[str, Any]) -> dict[str, Any]:
    """The same for people: a line for each setting."""
    if "settings" not in found:
        return found
    return {**found, "settings": {entry["name"]: _line(entry) for entry in found["settings"]}}


def _line(setting: dict[str, Any]) -> str:
    value = "must be given" if setting["default"] is None else setting["default"]
    return f"{value} ({setting['type']})" + (f"; {setting['meaning']}" if setting["meaning"] else "")


def explain(name: str) -> dict[str, Any]:
    """What a plug-in is and every setting it has; UsageError for a name that is in no group."""
    groups = list_()
    for group, entries in groups.items():
        if name in entries:
            return {"name": name, "group": group, "is": entries[name], **_details(group, name)}
    known = [*groups, *(entry for entries in groups.values() for entry in entries)]
    raise UsageError(registry.unknown("name", name, known))


def settings_of(config: type) -> list[Setting]:
    """The fields of a configuration, with the comments beside them."""
    source = textwrap.dedent(inspect.getsource(config))
    comments = _comments(source)
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.AnnAssign))
    lines = {node.target.id: node for node in nodes if isinstance(node.target, ast.Name)}
    return [_setting(field, lines[field.name], comments) for field in dataclasses.fields(config)]


def _setting(field: "dataclasses.Field[Any]", node: ast.AnnAssign, comments: dict[int, str]) -> Setting:
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    meaning = " ".join(comments[line] for line in lines if line in comments)
    default = None if field.default is dataclasses.MISSING else _shown(field.default)
    return Setting(field.name, _type(ast.unparse(node.annotation)), default, meaning)


def _type(annotation: str) -> str:
    """As people read it: of a few words, these words."""
    return re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace("'", "").replace(", ", " | "), annotation)


def _comments(source: str) -> dict[int, str]:
    """Comments by line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _shown(value: Any) -> str:
    """A value as ``--set`` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return "none" if value is None else str(value)


def _details(group: str, name: str) -> dict[str, Any]:
    if group == PRESETS:
        return {"file": (settings.PRESETS / f"{name}.toml").read_text(encoding="utf-8")}
    if group == RULES:
        return {}
    module = registry.load(PACKAGES[group], name)
    training = getattr(module, "TRAINING", {})
    found: dict[str, Any] = {"settings": [dataclasses.asdict(setting) for setting in settings_of(module.Config)]}
    return found | ({"training": {key: _shown(value) for key, value in training.items()}} if training else {})


def _presets() -> dict[str, str]:
    """The first sentence of the comment on top of each preset."""
    found = {}
    for path in sorted(settings.PRESETS.glob("*.toml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        head = " ".join(line.lstrip("# ") for line in lines[: next(i for i, t in enumerate(lines) if t[:1] != "#")])
        found[path.stem] = re.split(r"(?<=[a-z0-9])\. (?=[A-Z])", head)[0].removesuffix(".")
    return found


def _rules() -> dict[str, str]:
    """The list in the docstring of ``evaluation/fusion.py``; a learned rule has a module of its own."""
    text = (Path(asctool.__file__).parent / "evaluation" / "fusion.py").read_text(encoding="utf-8")
    found = _RULE.findall(ast.get_docstring(ast.parse(text)) or "")
    rules = {rule: line.removesuffix(".") for names, line in found for rule in re.findall(r"\w+", names)}
    learned = set(registry.names("evaluation")) & set(rules)
    return {rule: registry.summary("evaluation", rule) if rule in learned else line for rule, line in rules.items()}
