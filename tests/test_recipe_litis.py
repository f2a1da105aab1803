"""The LITIS recipe with a stand-in for asctool, and the tables it prints beside the paper's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_recipes import recipe

TABLES = Path(__file__).parents[1] / "recipes" / "litis" / "paper_tables.py"


def test_splits_networks_features_and_back_ends(tmp_path: Path) -> None:
    status, calls, _ = recipe("litis", tmp_path, "--corpus", "somewhere", "--splits", "2-3,7", "--jobs", "2")
    assert status == 0
    called = [call.split()[0] for call in calls]
    order = [
        called.index(stage) for stage in ("prep", "denoise", "featurize", "train", "extract", "svm", "fuse", "score")
    ]
    assert order == sorted(order)
    assert called.count("train") == called.count("svm") == 3 * 2 * 2  # splits, networks, features
    trained = {call.split("--fold ")[1].split()[0] for call in calls if call.startswith("train")}
    assert trained == {"2", "3", "7"}
    assert all("--config phan2019" in call for call in calls if call.startswith("train"))  # 500 epochs as published
    assert called.count("fuse") == 2 * 2 * (2 + 2)  # back ends, networks: each feature, both, both as clips
    scored = next(call for call in calls if call.startswith("score"))
    assert scored.count("/fold") == 3 * 2 * 2 * 2 and scored.count("/clips/") == 12 and scored.count("/fused/") == 4


@pytest.mark.parametrize("stage", ["prep", "train", "svm", "fuse", "score"])
def test_a_failing_stage_stops_it_with_its_status(stage: str, tmp_path: Path) -> None:
    status, calls, _ = recipe("litis", tmp_path, "--corpus", "somewhere", "--splits", "1", failing=stage)
    assert status == 3 and calls[-1].split()[0] == stage


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--splits", "one"], "not a range of folds"),
        (["--schedule", "night"], "--schedule: no night; there are paper cpu try"),
        ([], "give --corpus"),
        (["--split", "1"], "unknown option --split"),
    ],
)
def test_slips_end_it_with_status_2(options: list[str], words: str, tmp_path: Path) -> None:
    status, calls, err = recipe("litis", tmp_path, *options)
    assert status == 2 and words in err and calls == []


def system(name: str, level: str, accuracy: float, on_test: bool = False) -> dict:
    """What scores.json has of a system in two splits."""
    figures = {"accuracy": accuracy, "macro_f1": accuracy - 0.01, "macro_precision": accuracy - 0.02}
    mean = {figure: {"mean": value, "deviation": 0.005, "n": 2} for figure, value in figures.items()}
    return {"system": name, "level": level, "folds": {"1": {}, "4": {}}, "mean": mean, "selected_on_test": on_test}


def printed(tmp_path: Path, splits: list[str]) -> str:
    systems = [
        system("att_crnn logmel svm", "segment", 0.9),
        system("att_crnn logmel svm", "clip", 0.95),
        system("att_crnn fused svm", "clip", 0.96, on_test=True),
    ]
    (tmp_path / "scores.json").write_text(json.dumps({"systems": systems, "splits": splits}))
    done = subprocess.run(
        [sys.executable, TABLES, tmp_path / "scores.json"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_papers_numbers_stand_beside_ours(tmp_path: Path) -> None:
    said = printed(tmp_path, ["official"])
    assert "| Att-CRNN (logMel) | 93.78 | 90.00 ± 0.50 | 98.53 | 95.00 ± 0.50 |" in said
    row = "| Att-CRNN (logMel) | 98.53 | 95.00 ± 0.50 | 98.39 | 94.00 ± 0.50 | 98.20 | 93.00 ± 0.50 |"
    assert row in said
    assert "| CNN baseline (logGam) | 92.13 | not measured | 97.87 | not measured |" in said
    assert "2 of 20 splits (1, 4)" in said and "NOT" not in said
    assert "| Att-CRNN (fusion) | 98.72 | 96.00 ± 0.50 (chosen on test data!) |" in said


def test_made_splits_are_told_above_the_tables(tmp_path: Path) -> None:
    assert "SPLITS MADE FROM SEED 0, NOT THE OFFICIAL ONES" in printed(
        tmp_path, ["made from seed 0, not the official ones"]
    )
