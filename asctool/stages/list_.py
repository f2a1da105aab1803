"""list: every stage with settings, feature, network, corpus, transform, kernel, preset and fusion rule there is.

The lines come from the plug-ins' own docstrings, which are read, not imported: the list is there at once.
"""

import ast
import dataclasses
import importlib
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
STAGES = "stages"
STAGE_OF = {
    "corpora": "prep",
    "features": "featurize",
    "transforms": "augment",
    "networks": "train",
    "kernels": "svm",
}  # group -> the stage that takes one of it, with settings of its own
OWN = {
    "prep": ("stages.prep.Settings",),
    "denoise": ("stages.denoise.Settings", "dsp.noise.Config"),
    "featurize": ("stages.featurize.Settings",),
    "augment": ("stages.augment.plan.Copies", "stages.augment.plan.Rows"),
    "train": ("training.settings.Settings",),
    "svm": ("stages.svm.Settings",),
}  # what a stage's --set takes besides the settings of a plug-in
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
    groups = {STAGES: {name: _promise(name) for name in OWN}}
    groups |= {
        group: {name: registry.summary(package, name) for name in registry.names(package)}
        for group, package in PACKAGES.items()
    }
    groups |= {PRESETS: _presets(), RULES: _rules()}
    if only is None:
        return groups
    return {only: groups[only]} if only in groups else {}


def readable(found: dict[str, Any]) -> dict[str, Any]:
    """The same for people: a line for each setting and each column."""
    if "settings" not in found:
        return found
    absent = "the network's" if found["name"] == "train" else "must be given"
    lines = {"settings": {entry["name"]: _line(entry, absent) for entry in found["settings"]}}
    if "columns" in found:
        lines["columns"] = {
            entry["what"]: f"{entry['column']}; without it {entry['otherwise']}" for entry in found["columns"]
        }
    return {**found, **lines}


def _line(setting: dict[str, Any], absent: str) -> str:
    value = absent if setting["default"] is None else setting["default"]
    return f"{value} ({setting['type']})" + (f"; {setting['meaning']}" if setting["meaning"] else "")


def explain(name: str) -> dict[str, Any]:
    """What a plug-in or a stage is and every setting it has; UsageError for a name that is in no group."""
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
    if group == STAGES:
        return _of_stage(name)
    module = registry.load(PACKAGES[group], name)
    found: dict[str, Any] = {"settings": _records(module.Config)}
    if training := getattr(module, "TRAINING", {}):
        found["training"] = {key: _shown(value) for key, value in training.items()}
    if columns := _columns(module.__doc__ or ""):
        found["columns"] = columns
    return found | {"more": f"settings of its stage: asctool list {STAGE_OF[group]}"}


def _of_stage(name: str) -> dict[str, Any]:
    """Settings of a stage, and where those of its plug-ins are told."""
    found: dict[str, Any] = {"settings": _records(*configs_of(name))}
    for group in (group for group, stage in STAGE_OF.items() if stage == name):
        found["more"] = f"settings of {group}: asctool list NAME ({', '.join(registry.names(PACKAGES[group]))})"
    return found


def configs_of(stage: str) -> list[type]:
    """The configurations of a stage's own settings."""
    places = [f"asctool.{place}".rpartition(".") for place in OWN[stage]]
    return [getattr(importlib.import_module(module), name) for module, _, name in places]


def _records(*configs: type) -> list[dict[str, Any]]:
    """Settings for programs; what several configurations have is told once."""
    entries = [entry for config in configs for entry in settings_of(config)]
    return [dataclasses.asdict(entry) for entry in {entry.name: entry for entry in entries}.values()]


def _columns(docstring: str) -> list[dict[str, str]]:
    """The table of columns in the docstring of a corpus that is a table: what, its names, and how it is without it."""
    rows = [line.strip("| ").replace("``", "").split(" | ") for line in docstring.splitlines() if line[:1] == "|"]
    return [dict(zip(["what", "column", "otherwise"], cells)) for cells in rows[2:]]


def _promise(stage: str) -> str:
    """The first paragraph of a stage's docstring behind its name, read without importing it; folders are stages too."""
    path = Path(__file__).parent / stage
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    text = " ".join(docstring.split("\n\n")[0].split()).removeprefix(f"{stage}: ").removesuffix(".")
    return text[:1].upper() + text[1:]


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
