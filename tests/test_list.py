"""list: everything there is, in the words of its own docstrings; and what --set takes."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from commands import ROOT

from asctool import registry
from asctool.cli import run
from asctool.corpora import table
from asctool.corpora._table_rows import COLUMNS
from asctool.errors import UsageError
from asctool.evaluation import fusion
from asctool.stages import augment, denoise, featurize, prep, svm, train
from asctool.stages import list_ as stage
from asctool.storage import settings


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert run(["list", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_everything_that_can_be_named_on_a_command_line_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys)
    assert list(found) == ["stages", *stage.PACKAGES, "presets", "fusion rules"]
    assert tuple(found["stages"]) == settings.SECTIONS
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


@pytest.mark.parametrize(
    ("name", "plug_ins", "configure"),
    [
        ("prep", ["folder"], lambda values: prep.configure("folder", values)),
        ("denoise", [], denoise.configure),
        ("featurize", ["logmel"], lambda values: featurize.configure("logmel", values)),
        ("augment", ["mixup"], lambda values: augment.configure("mixup", values)),
        ("augment", ["pitch_shift"], lambda values: augment.configure("pitch_shift", values)),
        ("train", ["cnn"], lambda values: train.configure("cnn", values)),
        ("svm", ["rbf"], lambda values: svm.configure("rbf", values)),
    ],
)
def test_a_stage_and_its_plug_in_tell_all_that_can_be_set(
    name: str, plug_ins: list[str], configure: Callable[[dict[str, Any]], Any]
) -> None:
    """Together just what the stage itself says that it knows."""
    with pytest.raises(UsageError) as told:
        configure({"no such setting": 1})
    known = set(str(told.value).rpartition("known: ")[2].removesuffix(")").split(", "))
    own = {entry["name"] for entry in stage.explain(name)["settings"]}
    theirs = {entry["name"] for plug_in in plug_ins for entry in stage.explain(plug_in)["settings"]}
    assert known - theirs <= own and known <= own | theirs
    assert own - known == ({"copies", "rows_per_row"} - known if name == "augment" else set())


def test_a_stage_tells_its_own_settings_once_and_points_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "featurize"]) == 0
    out = capsys.readouterr().out
    assert "sample_rate: must be given (int); Hz" in out and "delta_width: 9 (int); frames of the regression" in out
    assert "more: settings of features: asctool list NAME (gammatone, logmel, waveform)" in out
    assert run(["list", "logmel"]) == 0
    assert "more: settings of its stage: asctool list featurize" in capsys.readouterr().out
    assert run(["list", "train"]) == 0
    assert "epochs: the network's (int)" in capsys.readouterr().out  # which has its paper's, and needs none given
    names = [entry["name"] for entry in printed(capsys, "augment")["settings"]]
    assert names == ["copies", "seed", "rows_per_row"]


def test_columns_of_a_table_are_those_that_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    told = [entry["column"].split(", ") for entry in printed(capsys, "table")["columns"]]
    assert {name for names in told for name in names} == {name for names in COLUMNS.values() for name in names}
    assert all(list(names) in told for names in COLUMNS.values() if names not in (("start",), ("end",)))
    assert run(["list", "table"]) == 0
    assert "id: clip_id, id; without it the path without its extension" in capsys.readouterr().out


def test_the_page_of_corpora_has_the_columns_of_a_table() -> None:
    page = (ROOT / "docs" / "corpora.md").read_text()
    rows = [line.replace("``", "`") for line in (table.__doc__ or "").splitlines() if line.startswith("|")]
    assert len(rows) == 9 and "\n".join(rows) in page


def test_a_preset_is_shown_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "phan2019")["file"] == (settings.PRESETS / "phan2019.toml").read_text()


def test_an_unknown_name_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "logmle"]) == 2
    assert "did you mean 'logmel'?" in capsys.readouterr().err
