"""info: what an artifact is in words, and what it was made from, as far as the audio."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, asctool

from asctool.cli import run


def explained(capsys: pytest.CaptureFixture[str], artifact: Path) -> dict[str, Any]:
    capsys.readouterr()
    asctool("info", artifact, "--json")
    return dict(json.loads(capsys.readouterr().out))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A chain of its own, from recordings to clips, so that tests can take copies of it apart."""
    base = tmp_path_factory.mktemp("chain")
    settings = ("n_clips_per_class=4", "n_recordings_per_class=4", "seconds=1.5", "sample_rate=16000", "n_folds=2")
    asctool("prep", "synthetic", base / "audio", base / "data", *(w for s in settings for w in ("--set", s)))
    asctool("denoise", base / "data", base / "denoised", "--jobs", 1)
    given = ("--type", "logmel", "--set", "sample_rate=16000", "--set", "segment_frames=40", "--jobs", 1)
    asctool("featurize", base / "data", base / "logmel", *given, "--denoised", base / "denoised")
    asctool("train", base / "logmel", base / "run", "--model", "att_crnn", "--fold", 1, "--epochs", 1, *SMALL)
    asctool("extract", base / "run", base / "logmel", base / "embeddings", "--kind", "embedding")
    asctool("svm", base / "embeddings", base / "svm")
    asctool("fuse", base / "svm", base / "clips")
    return base


def test_a_result_is_followed_to_its_recordings(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = explained(capsys, chain / "clips")
    behind = {Path(entry["path"]).name: entry["is"] for entry in found["made_from"]}
    assert list(behind) == ["svm", "embeddings", "run", "logmel", "data", "denoised"]
    assert found["is"] == "posterior store of att_crnn logmel svm by fuse: 12 rows of 6 (class), clips"
    assert behind["run"] == "run: att_crnn on logmel, fold 1, 1 epochs"
    assert behind["logmel"].startswith("feature store by featurize (logmel): ")
    assert behind["logmel"].endswith(" rows of 2 x 64 x 40 (channel, band, frame)")
    assert behind["data"].endswith(": 24 clips, 36 s, 6 classes; all 24 audio files there")
    assert not found["lost"]
    assert found["bytes"] == sum(path.stat().st_size for path in (chain / "clips").iterdir())


def test_a_run_knows_its_features(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = explained(capsys, chain / "run")
    assert [entry["kind"] for entry in found["made_from"]] == ["feature", "data", "waveform"] and not found["lost"]


def test_people_read_words_and_no_hashes(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    asctool("info", chain / "svm")
    out = capsys.readouterr().out
    assert "chosen" in out and "att_crnn logmel svm: last epoch (1 of 1); kernel and C: given" in out
    assert "1: 12 train, 12 test" in out and "made by: asctool " in out
    recordings = out.split("of the recordings in")[1]
    assert str(chain / "data") in recordings and "24 audio files there" in recordings
    manifest = json.loads((chain / "svm" / "manifest.json").read_text())
    assert manifest["fingerprint"] not in out and manifest["content"] not in out


def test_recordings_that_are_gone_are_counted(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = chain / "audio" / "moved"
    wav = sorted((chain / "audio").rglob("*.wav"))[0]
    wav.rename(moved)
    try:
        (data,) = (entry for entry in explained(capsys, chain / "clips")["made_from"] if entry["kind"] == "data")
    finally:
        moved.rename(wav)
    assert data["is"].endswith(f"1 of 24 audio files are gone: {wav}")


def test_what_was_made_anew_or_removed_is_said(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Copies that lie together as the originals do: paths are relative."""
    for name in ("run", "embeddings", "svm", "clips"):
        shutil.copytree(chain / name, tmp_path / name)
    lost = [line.partition(":")[0] for line in explained(capsys, tmp_path / "svm")["lost"]]
    assert lost == [f"{name} was made from what is not there" for name in ("embeddings", "run")]
    shutil.copytree(chain / "logmel", tmp_path / "logmel")
    asctool("svm", tmp_path / "embeddings", tmp_path / "svm", "--kernel", "rbf", "--force")
    lost = explained(capsys, tmp_path / "clips")["lost"]
    assert lost == [f"{tmp_path / 'svm'} is not what clips was made from: it was made anew since"]


def test_a_manifest_without_paths_says_that_it_does_not_know(
    chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(chain / "denoised", tmp_path / "denoised")
    manifest = json.loads((tmp_path / "denoised" / "manifest.json").read_text())
    kept = {key: value for key, value in manifest.items() if key not in ("paths", "sha256")}
    (tmp_path / "denoised" / "manifest.json").write_text(json.dumps(kept))  # as before manifests were sealed
    (lost,) = explained(capsys, tmp_path / "denoised")["lost"]
    assert lost == f"{tmp_path / 'denoised'} does not say where the denoise that made it read from"


def test_scores_and_audio(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asctool("score", chain / "clips", "--out", tmp_path / "scores", "--quiet")
    assert explained(capsys, tmp_path / "scores")["is"] == "scores of att_crnn logmel svm"
    wav = sorted((chain / "audio").rglob("*.wav"))[0]
    assert explained(capsys, wav)["duration"] == 1.5
    assert run(["info", str(tmp_path / "nothing")]) == 3
