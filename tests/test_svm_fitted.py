"""A challenge's evaluation set without labels: through the networks, SVMs and weights that were fitted before."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SMALL, asctool
from made_posteriors import drawn, make_store, make_tables

from asctool.cli import run
from asctool.evaluation import fusion
from asctool.stages import predict
from asctool.storage import audio
from asctool.storage.store import Store

FEATURES = ("--type", "logmel", "--set", "sample_rate=16000", "--set", "segment_frames=40", "--jobs", 1, "--quiet")


@pytest.fixture(scope="module")
def lab(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network on log-mel alone with its SVM; three new recordings, which nobody labelled, as embeddings of it."""
    base = tmp_path_factory.mktemp("evaluation")
    asctool("featurize", corpus / "data", base / "logmel", *FEATURES)
    words = ("--model", "att_crnn", "--fold", 1, "--epochs", 1, *SMALL, "--set", "precision=float32", "--quiet")
    asctool("train", base / "logmel", base / "run", *words)
    asctool("extract", base / "run", base / "logmel", base / "embeddings", "--kind", "embedding", "--quiet")
    asctool("svm", base / "embeddings", base / "svm", "--quiet")
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(base / f"new-{number}.wav", rng.normal(size=40000) / 9, 16000)
    (base / "new.csv").write_text("filename\nnew-0.wav\nnew-1.wav\nnew-2.wav\n")
    asctool("prep", "table", base / "new.csv", base / "new-data", "--jobs", 1, "--quiet")
    asctool("featurize", base / "new-data", base / "new-logmel", *FEATURES)
    asctool("extract", base / "run", base / "new-logmel", base / "new-embeddings", "--kind", "embedding", "--quiet")
    asctool("svm", base / "new-embeddings", base / "new-svm", "--fitted", base / "svm", "--quiet")
    return base


def test_an_unlabelled_set_comes_to_a_submission(lab: Path, tmp_path: Path) -> None:
    """The csv says what predict says of the same files."""
    asctool("fuse", lab / "new-svm", tmp_path / "clips", "--quiet")
    asctool("submit", tmp_path / "clips", tmp_path / "submission.csv", "--quiet")
    asctool("submit", tmp_path / "clips", tmp_path / "labels.csv", "--columns", "labels", "--quiet")
    rows = list(csv.DictReader((tmp_path / "submission.csv").open()))
    labels = {row["filename"]: row["scene_label"] for row in csv.DictReader((tmp_path / "labels.csv").open())}
    predictor = predict.open_models([lab / "svm"], "cpu")
    assert [row["clip_id"] for row in rows] == ["new-0", "new-1", "new-2"]
    for row in rows:
        found = predictor.hear(audio.pieces(lab / f"{row['clip_id']}.wav", 60)).posterior
        np.testing.assert_allclose([float(row[name]) for name in predictor.classes], found, atol=2e-5)
        assert labels[f"{row['clip_id']}.wav"] == predictor.classes[int(found.argmax())]


def test_the_result_holds_its_machine(lab: Path) -> None:
    new, fitted = Store(lab / "new-svm"), Store(lab / "svm")
    assert new.read_file("svm.h5") == fitted.read_file("svm.h5")
    assert new.manifest["protocol"] == fitted.manifest["protocol"] and new.manifest["fold"] == 1
    assert set(new.columns("subset")["subset"].tolist()) == {"test"}
    path = lab / "new-0.wav"
    one, two = (predict.open_models([lab / name], "cpu").hear(audio.pieces(path, 60)) for name in ("svm", "new-svm"))
    np.testing.assert_array_equal(one.posterior, two.posterior)


def test_it_is_done_once_and_refused_with_another_machine(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(lab / "new-svm", tmp_path / "new-svm")
    words = ["svm", str(lab / "new-embeddings"), str(tmp_path / "new-svm"), "--fitted"]
    assert run([*words, str(lab / "svm")]) == 0
    assert "is there already" in capsys.readouterr().err
    asctool("svm", lab / "embeddings", lab / "other-svm", "--set", "c=10", "--quiet")
    assert run([*words, str(lab / "other-svm")]) == 2
    assert "was made with other options" in capsys.readouterr().err


def test_embeddings_of_another_network_are_refused(
    lab: Path, trained: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asctool("extract", trained, corpus / "logmel", tmp_path / "embeddings", "--kind", "embedding", "--quiet")
    words = ["svm", str(tmp_path / "embeddings"), str(tmp_path / "out"), "--fitted", str(lab / "svm")]
    assert run(words) == 3
    assert "comes from another network" in capsys.readouterr().err
    assert run([*words, "--kernel", "rbf"]) == 2
    assert "no --kernel" in capsys.readouterr().err
    assert run([*words[:3], "--fitted", str(tmp_path / "embeddings")]) == 3
    assert "kind 'embedding', where 'posterior'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rule", fusion.LEARNED)
def test_learned_weights_are_used_again(rule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of validation rows, applied to clips that have none."""
    tables = make_tables(24, 2)
    ids = [clip.clip_id for clip in tables.clips]
    subset = ["valid"] * 12 + ["test"] * 12
    for seed, name in enumerate(("one", "two")):
        make_store(tmp_path / name, tables, ids, drawn(24, seed=seed), name, subset=subset)
    words = ("--rule", rule, "--allow-missing", "--quiet")
    asctool("fuse", tmp_path / "one", tmp_path / "two", tmp_path / "fused", *words)
    new = make_tables(6, 1, labels=[()] * 6)
    new_ids = [clip.clip_id for clip in new.clips]
    rows = {name: drawn(6, seed=10 + seed) for seed, name in enumerate(("one", "two"))}
    inputs = [make_store(tmp_path / f"new-{name}", new, new_ids, array, name) for name, array in rows.items()]
    asctool("fuse", *inputs, tmp_path / "new", "--fitted", tmp_path / "fused", "--quiet")
    learned = Store(tmp_path / "fused").read_file("fusion.h5")
    store = Store(tmp_path / "new")
    assert store.read_file("fusion.h5") == learned and store.config["rule"] == rule
    from asctool.storage import arrays

    model = {name.removeprefix("fold 1 "): value for name, value in arrays.decode(learned).items()}
    expected = fusion.apply_learned(rule, model, np.stack(list(rows.values())))
    np.testing.assert_allclose(store.columns("array")["array"], expected, rtol=1e-6)
    fitted = ["--fitted", str(tmp_path / "fused")]
    assert run(["fuse", str(inputs[0]), str(tmp_path / "out"), *fitted]) == 3
    assert "has weights of one, two, not of one" in capsys.readouterr().err
    assert run(["fuse", *map(str, inputs), str(tmp_path / "out"), *fitted, "--rule", "mean"]) == 2
    assert "the rule is that of --fitted" in capsys.readouterr().err
    assert run(["fuse", *map(str, inputs), str(tmp_path / "out"), "--fitted", str(inputs[0])]) == 3
    assert "learned no weights" in capsys.readouterr().err
