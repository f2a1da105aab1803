"""Configurations: typed, complete, and nothing unknown gets through."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import typer
from commands import ROOT

from asctool import cli
from asctool.errors import UsageError
from asctool.storage import settings


@dataclass(frozen=True)
class Example:
    rate: int
    hop_seconds: float = 0.5
    window: Literal["hann", "hamming"] = "hann"
    filters: tuple[int, ...] = (1, 2)
    top: float | None = None


def build(*pairs: str) -> Example:
    return settings.build(Example, settings.parse_overrides(pairs))


def test_values_take_the_type_of_their_field() -> None:
    assert build("rate=8", "hop_seconds=1", "window=hamming", "filters=[3, 4]", "top=2") == Example(
        8, 1.0, "hamming", (3, 4), 2.0
    )
    assert build("rate=8", "top=none").top is None


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["rate=8", "hop_second=1"], "did you mean 'hop_seconds'"),
        (["rate=8.5"], r"rate=8.5: expected int"),
        (["rate=true"], "rate=True: expected int"),
        (["rate=8", "hop_seconds=nan"], "hop_seconds=nan"),
        (["rate=8", "window=kaiser"], r"expected hann \| hamming"),
        (["hop_seconds=1"], "rate must be given"),
        (["rate"], "--set takes key=value"),
    ],
)
def test_slips_are_told(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(*pairs)


def test_a_preset_is_found_by_name_and_a_file_by_path(tmp_path: Path) -> None:
    assert settings.read_section("phan2019", "featurize")["sample_rate"] == 22050
    file = tmp_path / "mine.toml"
    file.write_text("[train]\nepochs = 3\n")
    assert settings.read_section(str(file), "train") == {"epochs": 3}
    assert settings.read_section(str(file), "svm") == {}
    with pytest.raises(UsageError, match=r"unknown preset or file 'phan2018'; did you mean 'phan2019'"):
        settings.read_section("phan2018", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_folds = 2\n", r"mine.toml: 'n_folds' stands outside the sections.*write \[prep\] above it"),
        ("epochs = 1\n[prep]\nn_folds = 2\n", "'epochs' stands outside the sections"),
        (
            "[prpe]\nn_folds = 2\n",
            r"mine.toml: unknown section '\[prpe\]'; did you mean '\[prep\]'\? \(known: \[prep\], ",
        ),
        ("[Train]\nepochs = 2\n", r"did you mean '\[train\]'"),
        ("[fuse]\nrule = 'mean'\n", r"unknown section '\[fuse\]'"),  # fuse takes no --config: nothing would read it
        ("train = 3\n", r"train is no section; write \[train\] above its settings"),
    ],
)
def test_what_no_stage_would_read_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        settings.read_section(str(tmp_path / "mine.toml"), "prep")


def test_one_file_serves_a_chain(tmp_path: Path) -> None:
    """Each command takes its own section and lets those of the others be."""
    texts = [f"[{section}]\nseed = {number}\n" for number, section in enumerate(settings.SECTIONS)]
    (tmp_path / "chain.toml").write_text("".join(texts))
    for number, section in enumerate(settings.SECTIONS):
        assert settings.read_section(str(tmp_path / "chain.toml"), section) == {"seed": number}


def test_sections_are_the_commands_that_take_a_file() -> None:
    commands = dict(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]
    taking = [name for name, command in commands.items() if any("--config" in p.opts for p in command.params)]
    assert taking == list(settings.SECTIONS)


def test_every_file_of_settings_of_this_repository_can_be_read() -> None:
    """The presets, and what the recipes have beside the tables of papers that they compare with."""
    files = [*settings.PRESETS.glob("*.toml"), *ROOT.glob("recipes/*/conf/*.toml")]
    found = {
        path: {s: settings.read_section(str(path), s) for s in settings.SECTIONS}
        for path in files
        if path.stem != "paper"
    }
    assert len(found) > 15 and all(any(sections.values()) for sections in found.values())
