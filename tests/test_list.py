"""list: everything there is, in the words of its own docstrings; and what --set takes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from asctool import registry
from asctool.cli import run
from asctool.evaluation import fusion
from asctool.stages import list_ as stage
from asctool.storage import settings


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["list", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_everything_that_can_be_named_on_a_command_line_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys)
    assert list(found) == [*stage.PACKAGES, "presets", "fusion rules"]
    for group, package in stage.PACKAGES.items():
        modules = {path.stem for path in Path(registry.__file__).parent.joinpath(package).glob("[!_]*.py")}
        assert set(found[group]) == modules
    assert set(found["presets"]) == {path.stem for path in settings.PRESETS.glob("*.toml")}
    assert set(found["fusion rules"]) == {*fusion.RULES, *fusion.LEARNED}


def test_each_line_begins_the_docstring_of_its_module() -> None:
    for group, package in stage.PACKAGES.items():
        for name, line in stage.list_()[group].items():
            docstring = " ".join((registry.load(package, name).__doc__ or "").split())
            assert len(line) > 20 and docstring.startswith(line)


def test_a_group_alone_and_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(printed(capsys, "kernels")) == ["kernels"]
    assert run(["list", "kernels"]) == 0
    out = capsys.readouterr().out
    assert "linear: Linear support vector machine" in out and "logmel" not in out


def test_listing_imports_none_of_it() -> None:
    """Beyond the standard library and rich, which draws the tree."""
    heavy = ("torch", "numpy", "librosa", "scipy", "sklearn", "h5py", "matplotlib")
    script = f"import sys, asctool.cli\nassert asctool.cli.run(['list']) == 0\nprint({{*sys.modules}} & {{*{heavy!r}}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


@dataclasses.dataclass(frozen=True)
class Sample:
    """A configuration with everything that a setting can be."""

    rate_hz: int  # Hz; must be given
    pool: tuple[int, ...] = (4, 2)
    scale: float = 1.0  # on a line of its own
    exact: bool = False
    limit: float | None = None  # None: no limit
    way: Literal["short", "long"] = "short"


def test_settings_have_the_comments_beside_them() -> None:
    assert [dataclasses.astuple(entry) for entry in stage.settings_of(Sample)] == [
        ("rate_hz", "int", None, "Hz; must be given"),
        ("pool", "tuple[int, ...]", "[4, 2]", ""),
        ("scale", "float", "1.0", "on a line of its own"),
        ("exact", "bool", "false", ""),
        ("limit", "float | None", "none", "None: no limit"),
        ("way", "short | long", "short", ""),
    ]


def test_shown_defaults_can_be_given_back() -> None:
    """What stands there as a default is what --set takes: it builds the same configuration."""
    for group, package in stage.PACKAGES.items():
        for name in registry.names(package):
            config = registry.load(package, name).Config
            shown = {entry.name: entry.default for entry in stage.settings_of(config) if entry.default is not None}
            pairs = [f"{key}={value}" for key, value in shown.items()]
            needed = {f.name for f in dataclasses.fields(config)} - set(shown)
            assert not needed, f"{group}: {name} has settings without a default"
            assert settings.build(config, settings.parse_overrides(pairs)) == config()


def test_a_plug_in_tells_its_settings_and_its_papers_training(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "att_crnn")
    assert found["group"] == "networks" and found["training"]["epochs"] == "500"
    assert {"name": "hidden", "type": "int", "default": "128", "meaning": "GRU units a direction"} in found["settings"]
    assert run(["list", "att_crnn"]) == 0
    assert "hidden: 128 (int); GRU units a direction" in capsys.readouterr().out


def test_a_preset_is_shown_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "phan2019")["file"] == (settings.PRESETS / "phan2019.toml").read_text()


def test_an_unknown_name_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "logmle"]) == 2
    assert "did you mean 'logmel'?" in capsys.readouterr().err
