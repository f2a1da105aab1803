"""svm --tune: kernel and C chosen on validation rows, or on folds inside the training rows; never on test rows."""

from pathlib import Path

import numpy as np
import pytest
from made_posteriors import meanwhile

from asctool.cli import run
from asctool.stages import svm as stage
from asctool.storage import locks, manifest
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.store import Store, write_rows

CLASSES = ("disc", "ring")


def embeddings(out: Path, with_valid: bool, test_seed: int = 1, n_clips: int = 240) -> Path:
    """A ring around a disc, which no plane divides; of the test rows, whatever the seed says."""
    rng, other = np.random.default_rng(0), np.random.default_rng(test_seed)
    targets = np.arange(n_clips) % 2
    angle, noise = rng.uniform(0, 2 * np.pi, n_clips), 0.2 * rng.normal(size=n_clips)
    radius = 1 + 2 * targets + noise
    array = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
    subset = np.array(
        [("train", "train", "valid" if with_valid else "train", "test")[i // 2 % 4] for i in range(n_clips)]
    )
    array[subset == "test"] = other.normal(size=((subset == "test").sum(), 2))
    clips = tuple(Clip(f"c{i:03d}", f"{i}.wav", (CLASSES[t],), f"g{i}", 1.0) for i, t in enumerate(targets))
    tables = Tables(clips, tuple(FoldRow(1, clip.clip_id, s) for clip, s in zip(clips, subset)), CLASSES)
    columns = {
        "clip_id": np.array([clip.clip_id for clip in clips]),
        "start": np.zeros(n_clips),
        "array": array,
        "fold": np.ones(n_clips, np.int32),
        "subset": subset,
        "system": np.full(n_clips, "made"),
    }
    more = {"fold": 1, "level": "segment", "systems": ["made"], "protocol": {"made": {"select": "last"}}}
    with locks.writer_lock(out):
        write_rows(out, Recipe("embedding", "test", 1, {"seed": test_seed}, {}), tables, columns, **more)
    return out


def tuned(source: Path, out: Path, *words: str) -> dict[str, object]:
    assert run(["svm", str(source), str(out), "--tune", "--quiet", *words]) == 0
    return manifest.read(out)


@pytest.mark.parametrize(("with_valid", "judge"), [(True, "valid"), (False, "train folds")])
def test_a_kernel_that_solves_the_problem_is_chosen(with_valid: bool, judge: str, tmp_path: Path) -> None:
    found = tuned(embeddings(tmp_path / "in", with_valid), tmp_path / "out", "--set", "tune_c=[0.1, 10.0]")
    tuning = found["tuning"]
    assert tuning["chosen"]["kernel"] == "rbf"
    accuracy = {(one["kernel"], one["c"]): one["accuracy"] for one in tuning["candidates"]}
    assert set(accuracy) == {(kernel, c) for kernel in ("linear", "rbf", "sigmoid") for c in (0.1, 10.0)}
    assert accuracy["rbf", tuning["chosen"]["c"]] > 0.97 and accuracy["linear", 0.1] < 0.75
    assert found["protocol"]["made svm"] == {"select": "last", "kernel and C": judge}


@pytest.mark.parametrize("with_valid", [True, False])
def test_test_rows_have_no_part_in_the_choice(with_valid: bool, tmp_path: Path) -> None:
    choices = []
    for seed in (1, 2):
        source = embeddings(tmp_path / f"in{seed}", with_valid, seed)
        choices.append(tuned(source, tmp_path / f"out{seed}")["tuning"])
        arrays = Store(tmp_path / f"out{seed}").read_file(stage.MODEL)
        choices.append(manifest.content_hash(arrays))
    assert choices[:2] == choices[2:]


def test_one_kernel_s_c_alone(tmp_path: Path) -> None:
    source = embeddings(tmp_path / "in", True)
    found = tuned(source, tmp_path / "out", "--kernel", "rbf", "--set", "gamma=0.5", "--set", "tune_c=[1.0, 2.0]")
    expected = [{"kernel": "rbf", "c": c, "gamma": 0.5} for c in (1.0, 2.0)]
    assert [{k: v for k, v in one.items() if k != "accuracy"} for one in found["tuning"]["candidates"]] == expected


def test_what_was_chosen_is_fitted_as_if_it_had_been_given(tmp_path: Path) -> None:
    source = embeddings(tmp_path / "in", True)
    chosen = tuned(source, tmp_path / "out")["tuning"]["chosen"]
    words = ["svm", str(source), str(tmp_path / "given"), "--kernel", chosen["kernel"], "--set", f"c={chosen['c']}"]
    assert run([*words, "--quiet"]) == 0
    first, second = (Store(tmp_path / name).columns("array")["array"] for name in ("out", "given"))
    np.testing.assert_array_equal(first, second)
    assert run(["svm", str(source), str(tmp_path / "out"), "--quiet"]) == 2  # made with other options


def test_nothing_to_choose_from_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = embeddings(tmp_path / "in", True)
    for words, told in (
        (["tune_c=[]"], "one of each at least"),
        (["tune_folds=1"], "tune_folds=1: two at least"),
        (["seed=-1"], "seed=-1: 0 at least"),
        (['tune_kernels=["cubic"]'], "unknown SVM kernel 'cubic'"),
    ):
        assert run(["svm", str(source), str(tmp_path / "out"), "--tune", "--set", *words]) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_fitted", [False, True])
def test_what_another_wrote_meanwhile_stays(
    is_fitted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = embeddings(tmp_path / "in", False, n_clips=24), tmp_path / "out"
    assert run(["svm", str(source), str(tmp_path / "one"), "--quiet"]) == 0
    meanwhile(monkeypatch, lambda: run(["svm", str(source), str(out), "--kernel", "rbf", "--quiet"]))
    more = ["--fitted", str(tmp_path / "one")] if is_fitted else []
    assert run(["svm", str(source), str(out), *more, "--quiet"]) == 2
    assert "was made with other options" in capsys.readouterr().err
    assert manifest.read(out)["config"]["kernel"] == "rbf"
