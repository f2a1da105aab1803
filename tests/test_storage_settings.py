"""Configurations: typed, complete, and nothing unknown gets through."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

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
