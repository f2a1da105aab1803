"""The commands of README and tutorial, as they stand there: run on small recordings, for one epoch."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import ROOT, in_page, run_all

ESC10_TARGETS = (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)
RATE = 22050


def write_noise(path: Path, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(size=round(seconds * RATE)) / 9, RATE)


def test_your_own_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for label, suffix in (("kitchen", "wav"), ("street", "flac")):
        for i in range(8):
            write_noise(tmp_path / "recordings" / label / f"{i}.{suffix}", 3, i + 8 * (label == "street"))
    write_noise(tmp_path / "new.wav", 4, 99)
    monkeypatch.chdir(tmp_path)
    found = in_page("README.md", "Your own recordings")
    stages = ["prep", "featurize", "train", "extract", "svm", "fuse", "score", "report", "predict"]
    assert [arguments[0] for arguments in found] == stages
    assert "cnn logmel svm" in run_all(found, capsys)
    assert "<html" in (tmp_path / "report.html").read_text()


def test_the_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Pieces of one recording share a name: four recordings a class, two pieces of each."""
    for label, suffix in (("kitchen", "wav"), ("street", "flac")):
        for i, name in enumerate(("morning", "noon", "evening", "night")):
            for piece in (1, 2):
                path = tmp_path / "recordings" / label / f"{name}-{piece}.{suffix}"
                write_noise(path, 2.5, 100 * i + 10 * piece + (label == "street"))
    write_noise(tmp_path / "new.wav", 4, 99)
    (tmp_path / "evaluation.csv").write_text("filename\nnew.wav\n")
    monkeypatch.chdir(tmp_path)
    found = in_page("docs/tutorial.md")
    told = {arguments[0] for arguments in found}
    assert told >= {"prep", "denoise", "featurize", "augment", "train", "extract", "svm", "fuse", "score"}
    assert told >= {"report", "predict", "bundle", "info", "verify", "list", "submit"}
    printed = run_all(found, capsys)
    assert "data: prep would write a data directory" in printed
    assert "16 clips" in printed and "all 16 audio files there" in printed
    assert "cnn logmel svm" in printed and "both" in printed
    assert printed.count(": whole: ") == 4
    assert (tmp_path / "submission.csv").read_text().startswith("clip_id,kitchen,street\nnew")
    assert all(
        (tmp_path / name).stat().st_size > 10_000 for name in ("clip.png", "features.png", "report.html", "model.asc")
    )


def test_measured_figures_are_those_of_the_recipe() -> None:
    """Every accuracy in the README's table stands in the recipe's own table of results."""
    readme = (ROOT / "README.md").read_text().split("## Measured", 1)[1].split("\n## ", 1)[0]
    figures = re.findall(r"\d\d\.\d+(?: ± \d\.\d\d)?", readme.split("| --- |", 1)[1])
    results = (ROOT / "recipes" / "esc10" / "RESULTS.md").read_text()
    assert len(figures) == 11 and all(figure in results for figure in figures)


def test_esc10_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On 400 half-second clips in the corpus' layout."""
    rng = np.random.default_rng(0)
    (tmp_path / "CORPUS" / "audio").mkdir(parents=True)
    (tmp_path / "CORPUS" / "meta").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(400):
        fold, target = number % 5 + 1, ESC10_TARGETS[number // 40]
        name = f"{fold}-{1000 + number}-A-{target}.wav"
        soundfile.write(tmp_path / "CORPUS" / "audio" / name, rng.normal(size=RATE // 2) / 9, RATE)
        lines.append(f"{name},{fold},{target},{CATEGORIES[target]},True,{1000 + number},A")
    (tmp_path / "CORPUS" / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    found = in_page("README.md", "ESC-10 by hand")
    stages = ["prep", "denoise", "featurize", "train", "extract", "svm", "fuse", "score"]
    assert [arguments[0] for arguments in found] == stages
    assert '"att_crnn gammatone svm"' in run_all(found, capsys)


CATEGORIES = {
    0: "dog",
    1: "rooster",
    10: "rain",
    11: "sea_waves",
    12: "crackling_fire",
    20: "crying_baby",
    21: "sneezing",
    38: "clock_tick",
    40: "helicopter",
    41: "chainsaw",
}
