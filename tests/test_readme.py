"""The commands of the README, as they stand there: run on small recordings, for one epoch."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asctool.cli import run

README = (Path(__file__).parents[1] / "README.md").read_text()
ESC10_TARGETS = (0, 1, 10, 11, 12, 20, 21, 38, 40, 41)
RATE = 22050


def commands(heading: str) -> list[list[str]]:
    """The asctool commands of the first block below a heading that has any; one epoch instead of many."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    block = next(block for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL) if "asctool" in block)
    lines = [re.sub(r"--epochs \d+", "--epochs 1", line) for line in block.splitlines() if line.startswith("asctool ")]
    return [shlex.split(line)[1:] for line in lines]


def run_all(found: list[list[str]], capsys: pytest.CaptureFixture[str]) -> str:
    """Run every command; what the last one printed."""
    for arguments in found:
        capsys.readouterr()
        assert run(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_your_own_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for label, suffix in (("kitchen", "wav"), ("street", "flac")):
        (tmp_path / "recordings" / label).mkdir(parents=True)
        for i in range(8):
            soundfile.write(tmp_path / "recordings" / label / f"{i}.{suffix}", rng.normal(size=3 * RATE) / 9, RATE)
    monkeypatch.chdir(tmp_path)
    found = commands("Your own recordings")
    assert [arguments[0] for arguments in found] == ["prep", "featurize", "train", "extract", "svm", "fuse", "score"]
    assert "cnn logmel svm" in run_all(found, capsys)


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
    found = commands("ESC-10 by hand")
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
