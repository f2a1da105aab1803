"""What MkDocs calls: pages of stages made from the program itself, pages from elsewhere in the repository, navigation.

A page outside ``docs`` keeps its path in the repository, the README becomes the first page. Links are written as they
work in the repository; here they are turned into those of the site. A link to a file that has no page becomes its
name, one to nothing is left as it is, so that ``mkdocs build --strict`` refuses it.
"""

import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from asctool import cli, registry
from asctool.stages import list_

ROOT = Path(__file__).parents[1]
FROM_ELSEWHERE = ("ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md", "benchmarks/RESULTS.md")
FIRST = ("index.md", "tutorial.md")
PAPERS = re.compile(r"[a-z]+\d{4}\.md")  # an author and a year
PLUG_INS = {  # stage -> what it takes plug-ins from, and the option that names one
    "prep": ("corpora", "CORPUS"),
    "featurize": ("features", "--type"),
    "augment": ("transforms", "--method"),
    "train": ("models", "--model"),
    "svm": ("classifiers", "--kernel"),
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation: what there is, in an order that makes sense; a page that is not known yet has its place too."""
    pages = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    papers = [name for name in pages if PAPERS.fullmatch(name)]
    others = [name for name in pages if name not in (*papers, *FIRST)]
    decisions = sorted(f"decisions/{path.name}" for path in (ROOT / "docs" / "decisions").glob("*.md"))
    results = [path for path in _elsewhere() if path.endswith("RESULTS.md")]
    rest = [path for path in _elsewhere() if path not in results]
    config.nav = [
        {"Overview": "index.md"},
        {"Tutorial": "tutorial.md"},
        {"Stages": ["stages/index.md", *(f"stages/{name}.md" for name in commands())]},
        {"Guides": others},
        {"Papers": [{_title(f"docs/{name}", ","): name} for name in papers]},
        {"Measured": [{_title(path, ":"): path} for path in results]},
        {"Inside": [*rest, {"Decisions": decisions}]},
    ]
    return config


def _title(path: str, end: str) -> str:
    """The heading of a page as far as a sign, short enough for the navigation."""
    heading = (ROOT / path).read_text(encoding="utf-8").partition("\n")[0]
    return heading.lstrip("# ").partition(end)[0]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, pages from elsewhere and one a stage."""
    generated = {"index.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    generated |= {path: (ROOT / path).read_text(encoding="utf-8") for path in _elsewhere()}
    generated |= {f"stages/{name}.md": page(name) for name in commands()}
    generated["stages/index.md"] = overview()
    for path, content in generated.items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links of the repository as links of the site."""
    here = repository_path(page.file.src_uri)
    return LINK.sub(lambda link: _on_site(link, here, page.file.src_uri, files), markdown)


def repository_path(page: str) -> str:
    """Where the text of a page of the site lies in the repository."""
    if page == "index.md":
        return "README.md"
    return page if page in _elsewhere() else f"docs/{page}"


def _on_site(link: re.Match[str], here: str, page: str, files: Files) -> str:
    mark, text, target = link.groups()
    path, hash_, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return link[0]
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
    found = next((file for file in files if repository_path(file.src_uri) == wanted), None)
    if found is not None:
        relative = posixpath.relpath(found.src_uri, posixpath.dirname(page) or ".")
        return f"{mark}[{text}]({relative}{hash_}{anchor})"
    return f"`{wanted}`" if (ROOT / wanted).exists() else link[0]


def _elsewhere() -> list[str]:
    results = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "recipes").glob("*/RESULTS.md"))
    return [*results, *(path for path in FROM_ELSEWHERE if (ROOT / path).is_file())]


# Pages of stages


def commands() -> dict[str, Any]:
    """The commands of the program by name, in the order of ``--help``."""
    return dict(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]


def overview() -> str:
    """All stages in one table."""
    rows = [
        f"| [{name}]({name}.md) | {_cell(command.help.partition(chr(10))[0])} |" for name, command in commands().items()
    ]
    text = "Every stage is a command; its page is made from the program itself."
    return "\n".join(["# Stages", "", text, "", "| command | |", "| --- | --- |", *rows, ""])


def page(name: str) -> str:
    """What ``--help`` tells, what the stage promises, and every setting that ``--set`` takes."""
    command = commands()[name]
    context = typer.Context(command, info_name=f"asctool {name}")
    module = importlib.import_module(f"asctool.stages.{command.callback.__name__}")
    function = getattr(module, command.callback.__name__)
    parts = [
        f"# {name}",
        inspect.cleandoc(command.help),
        _prose(module.__doc__),
        f"```\n{command.get_usage(context).removeprefix('Usage: ')}\n```",
        _parameters(command, context),
        *_settings(name, module),
        "## In Python",
        f"```python\nfrom {module.__package__} import {module.__name__.rpartition('.')[2]} as stage\n\n"
        f"stage.{function.__name__}({', '.join(inspect.signature(function).parameters)})\n```",
        _prose(function.__doc__),
    ]
    return "\n\n".join(parts) + "\n"


def _prose(docstring: str | None) -> str:
    """A docstring as Markdown: names in single quotes, its first letter a capital."""
    text = re.sub(r":\w+:`~?\.?([\w.]+)`", r"`\1`", inspect.cleandoc(docstring or "")).replace("``", "`")
    text = re.sub(r"^\w+: ", "", text)
    return text[:1].upper() + text[1:]


def _parameters(command: Any, context: Any) -> str:
    rows = ["| argument or option | |", "| --- | --- |"]
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None:
            rows.append(f"| {_code(record[0])} | {_cell(record[1])} |")
    return "\n".join(rows)


def _settings(name: str, module: Any) -> Iterator[str]:
    """Tables of the stage's own settings and those of each plug-in that it takes."""
    if name in list_.OWN:
        own = list_.configs_of(name)
    else:
        own = [value for value in vars(module).values() if _is_config(value, module.__name__)]
    has_set = any("--set" in parameter.opts for parameter in commands()[name].params)
    if not has_set:
        return
    yield "## Settings"
    yield (
        "`--set name=value` overrides one, `--config` gives many: a preset's name, or a TOML file with a section of "
        "the command's name."
    )
    for config in own:
        yield _prose(config.__doc__)
        yield _table(list_.settings_of(config))
    if name in PLUG_INS:
        yield from _plug_ins(*PLUG_INS[name])


def _is_config(value: Any, module: str) -> bool:
    """Whether this is a dataclass of settings: one that ``--set`` could fill, not what a stage passes around."""
    return inspect.isclass(value) and value.__module__ == module and value.__name__ == "Settings"


def _plug_ins(package: str, option: str) -> Iterator[str]:
    for plug_in in registry.names(package):
        module = registry.load(package, plug_in)
        yield f"### {plug_in}"
        yield f"With `{option}` `{plug_in}`. {_prose(registry.summary(package, plug_in))}."
        settings = list_.settings_of(module.Config)
        if settings:
            yield _table(settings)
        training = getattr(module, "TRAINING", None)
        if training:
            yield "Its paper's training: " + ", ".join(f"`{key}={value}`" for key, value in training.items()) + "."


def _table(settings: list[list_.Setting]) -> str:
    rows = [
        f"| `{entry.name}` | {_code(entry.default) if entry.default is not None else 'must be given'} "
        f"| {_code(entry.type)} | {_cell(entry.meaning)} |"
        for entry in settings
    ]
    return "\n".join(["| name | default | type | |", "| --- | --- | --- | --- |", *rows])


def _code(text: str) -> str:
    """Code in a table, where bars need no escape."""
    return f"`{text}`" if text.strip() else ""


def _cell(text: str) -> str:
    """A text inside a table."""
    return " ".join(text.split()).replace("|", "\\|")
