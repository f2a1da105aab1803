"""The documentation as a site: built without a warning, a page for every stage that says what the program says."""

import importlib.util
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT

mkdocs_build = pytest.importorskip("mkdocs.commands.build", reason="mkdocs is not installed (extra dev)")
from mkdocs.config import load_config  # noqa: E402
from mkdocs.structure.files import File, Files  # noqa: E402

HOOKS = ROOT / "docs" / "hooks.py"


class Warnings(logging.Handler):
    """What MkDocs complains of; --strict refuses it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site; a test that needs it fails where anything is amiss."""
    where = tmp_path_factory.mktemp("site")
    warnings = Warnings()
    log = logging.getLogger("mkdocs")
    log.addHandler(warnings)
    try:
        config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(where), strict=True)
        config.plugins.on_startup(command="build", dirty=False)
        mkdocs_build.build(config)
    finally:
        log.removeHandler(warnings)
    assert not warnings.told
    return where


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("docs_hooks", HOOKS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_hooks"] = module
    spec.loader.exec_module(module)
    return module


def text_of(page: Path) -> str:
    """What a reader sees, roughly: without tags, entities as signs."""
    import html

    return html.unescape(re.sub(r"<[^>]+>", " ", page.read_text()))


def test_every_command_has_a_page_with_all_its_options(site: Path, hooks: Any) -> None:
    assert {path.stem for path in (site / "stages").glob("*.html")} == {"index", *hooks.commands()}
    for name, command in hooks.commands().items():
        shown = text_of(site / "stages" / f"{name}.html")
        for parameter in command.params:
            if parameter.name != "help" and parameter.param_type_name == "option":
                assert parameter.opts[0] in shown, f"{name}: {parameter.opts[0]}"
    assert "asctool train [OPTIONS]" in text_of(site / "stages" / "train.html")


def test_stage_pages_tell_every_setting(site: Path) -> None:
    """Of the stage, of its plug-ins, with defaults and the comments beside them."""
    featurize = text_of(site / "stages" / "featurize.html")
    assert re.search(r"sample_rate\s+must be given\s+int\s+Hz; no default", featurize)
    assert re.search(r"floor_power\s+1e-10\s+float\s+-100 dB re full scale", featurize)
    train = text_of(site / "stages" / "train.html")
    assert "batch_size" in train and re.search(r"hidden\s+128\s+int\s+GRU units a direction", train)


def test_every_text_of_the_repository_is_in_the_navigation(site: Path) -> None:
    index = (site / "index.html").read_text()
    for path in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*/RESULTS.md"), ROOT / "ARCHITECTURE.md"]:
        page = str(path.relative_to(ROOT)).removeprefix("docs/").removesuffix(".md") + ".html"
        assert f'href="{page}"' in index, page


def test_the_site_asks_nothing_of_the_network(site: Path) -> None:
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)|<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)'
    )
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text()), page


def test_pictures_of_the_readme_are_shown(site: Path) -> None:
    (source,) = re.findall(r'<img[^>]+src="(pictures/[^"]+)"', (site / "index.html").read_text())
    assert (site / source).read_bytes() == (ROOT / "docs" / source).read_bytes()


@pytest.mark.parametrize(
    ("page", "written", "shown"),
    [
        ("phan2019.md", "[r](../recipes/esc10/RESULTS.md)", "[r](recipes/esc10/RESULTS.md)"),
        ("recipes/esc10/RESULTS.md", "[d](../../docs/phan2019.md#a)", "[d](../../phan2019.md#a)"),
        ("index.md", "![p](docs/phan2019.md)", "![p](phan2019.md)"),
        ("phan2019.md", "[code](../asctool/errors.py)", "`asctool/errors.py`"),
        ("phan2019.md", "[gone](../nothing.md)", "[gone](../nothing.md)"),  # MkDocs refuses it
        ("phan2019.md", "[far](https://example.org/a.md)", "[far](https://example.org/a.md)"),
        ("stages/train.md", "[i](index.md)", "[i](index.md)"),
    ],
)
def test_links_are_turned_into_those_of_the_site(hooks: Any, page: str, written: str, shown: str) -> None:
    config = load_config(str(ROOT / "mkdocs.yml"))
    names = ["index.md", "phan2019.md", "recipes/esc10/RESULTS.md", "stages/index.md", "stages/train.md"]
    files = Files([File(name, str(ROOT / "docs"), str(ROOT / "build"), use_directory_urls=False) for name in names])
    place = type("Place", (), {"file": files.get_file_from_path(page)})
    assert hooks.on_page_markdown(written, place, config, files) == shown


def test_links_between_texts_lead_somewhere_in_a_clone() -> None:
    """Also where nothing is built: what MkDocs makes is no file of the repository."""
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("recipes/**/*.md"),
        *ROOT.glob("benchmarks/*.md"),
    ]
    targets = [(page, target) for page in pages for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", page.read_text())]
    assert len(targets) > 30
    for page, target in targets:
        assert "://" in target or (page.parent / target).exists(), f"{page}: {target}"
