"""Groups of clips and two systems compared, on the page: what score says of them, to the letter."""

from pathlib import Path

import pytest
from conftest import asctool
from made_posteriors import make_tables, store_of_folds
from test_report import Reader

from asctool.cli import run
from asctool.errors import UsageError
from asctool.stages import report, score


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two systems on the same clips of two cities."""
    base = tmp_path_factory.mktemp("groups")
    tables = make_tables(60, 3)
    return [store_of_folds(base / name, tables, name, seed)[0] for seed, name in enumerate(("ours", "theirs"))]


def test_the_page_has_the_tables_of_score(stores: list[Path], tmp_path: Path) -> None:
    asctool("report", *stores, tmp_path / "r.html", "--by", "city,group", "--compare", "ours", "theirs", "--quiet")
    rows = Reader((tmp_path / "r.html").read_text()).rows
    tables = score.tables(score.score(stores, ["city", "group"], ("ours", "theirs")))
    expected = [table for table in tables if table.title.startswith("by ") or "luck" in table.title]
    assert [table.columns[0] for table in expected] == ["city", "group", "test"]
    for table in expected:
        assert table.columns in rows and all(row in rows for row in table.rows)
    assert any(row[0].startswith("McNemar, exact, 60 clips") for row in rows)
    assert any(row[:2] == ["Rouen", "30"] for row in rows)


def test_without_being_asked_they_are_not_there(stores: list[Path], tmp_path: Path) -> None:
    asctool("report", *stores, tmp_path / "r.html", "--quiet")
    text = (tmp_path / "r.html").read_text()
    assert "McNemar" not in text and "by city" not in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--by", "town"], "unknown column of clips.csv 'town'"),
        (["--compare", "ours", "others"], "unknown system 'others'"),
        (["--compare", "ours", "ours"], "ours and itself"),
    ],
)
def test_slips_are_told(
    options: list[str], words: str, stores: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", *map(str, stores), str(tmp_path / "r.html"), *options]) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "r.html").exists()


def test_runs_alone_cannot_be_compared(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runs alone have no posteriors"):
        report.report([trained], tmp_path / "r.html", report.configure({"compare": ["a", "b"]}))
    with pytest.raises(UsageError, match="the names of two systems"):
        report.configure({"compare": ["a"]})
