"""Networks that take tags hear new recordings with their taggers: as the stages do, from a bundle, along time."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import asctool
from test_tagging import SMALL, sounds  # noqa: F401  (a fixture)

from asctool.cli import run
from asctool.errors import DataError, IntegrityError
from asctool.stages import predict as stage
from asctool.storage import audio, bundle, manifest, tags
from asctool.storage.store import Store
from asctool.training import portable, tagging
from asctool.training.hearing import Recording
from asctool.training.predictor import Piece, Predictor
from asctool.training.ready import ReadyNetwork

RATE = 16000
TOLERANCE = 2e-5
NETWORK = (
    *("--model", "raw_resnet", "--fold", 1, "--epochs", 1, "--batch-size", 4, "--quiet", "--set", "filters=8"),
    *("--set", "blocks=3", "--set", "code=6", "--set", "tag_units=4", "--set", "precision=float32"),
)


@pytest.fixture(scope="module")
def base(corpus: Path, trained: Path, sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Networks with tags by taggers of another corpus beside their rows, as long as the clips; posteriors by both."""
    out = tmp_path_factory.mktemp("beside")
    options = ("n_bands=32", "sample_rate=8000", "segment_frames=60", "frame_seconds=0.032", "hop_seconds=0.015")
    given = [word for option in options for word in ("--set", option)]
    asctool("featurize", corpus / "data", out / "logmel", "--type", "logmel", *given, "--jobs", 1, "--quiet")
    asctool("train", sounds / "logmel", out / "other-tagger", *SMALL, "--seed", 5, "--set", "precision=float32")
    asctool("train", sounds / "logmel", out / "tagger", *SMALL, "--seed", 4, "--set", "precision=float32")
    for name, parts in (("tagger", ("all", "train")), ("other-tagger", ("all", "test"))):
        for part in parts:
            words = ("--kind", "tag", "--subset", part, "--quiet")
            asctool("extract", out / name, out / "logmel", out / f"{name}-{part}", *words)
    cut = ("--type", "waveform", "--set", f"sample_rate={RATE}", "--set", "segment_frames=40000", "--jobs", 1)
    asctool("featurize", corpus / "data", out / "rows", *cut, "--quiet")
    beside = ("--tags", out / "tagger-all")
    asctool("train", out / "rows", out / "run", *NETWORK, "--set", "tags=both", *beside)
    asctool("extract", out / "run", out / "rows", out / "softmax", "--kind", "posterior", *beside, "--quiet")
    asctool("extract", out / "run", out / "rows", out / "codes", "--kind", "embedding", *beside, "--quiet")
    asctool("extract", trained, corpus / "logmel", out / "classes", "--kind", "tag", "--quiet")
    asctool("svm", out / "codes", out / "svm", "--kernel", "rbf", "--quiet")
    asctool("fuse", out / "softmax", out / "svm", out / "clips", "--quiet")
    return out


def heard(models: list[Path], path: str) -> np.ndarray:
    return stage.open_models(models, "cpu", None).hear(audio.pieces(Path(path), 60)).posterior


@pytest.mark.parametrize("name", ["softmax", "svm", "clips"])
def test_it_is_heard_as_by_the_stages_and_from_a_bundle(name: str, base: Path, tmp_path: Path) -> None:
    asctool("bundle", base / name, tmp_path / "model.asc", "--quiet")
    store = Store(base / name, "posterior")
    columns = store.columns("clip_id", "array")
    for clip_id, expected in list(zip(columns["clip_id"].tolist(), columns["array"]))[:5]:
        path = store.tables.by_id[clip_id].path
        np.testing.assert_allclose(heard([base / name], path), expected, atol=TOLERANCE)
        np.testing.assert_allclose(heard([tmp_path / "model.asc"], path), expected, atol=TOLERANCE)


def test_joined_bundles_keep_their_taggers(base: Path, trained: Path, tmp_path: Path) -> None:
    asctool("bundle", base / "run", tmp_path / "with.asc", "--quiet")
    path = Store(base / "rows").tables.clips[0].path
    alone = [heard([model], path) for model in (trained, tmp_path / "with.asc")]
    both = heard([trained, tmp_path / "with.asc"], path)
    joint = np.prod(alone, 0)
    np.testing.assert_allclose(both, joint / joint.sum(), atol=1e-4)
    whole = bundle.read(tmp_path / "with.asc")
    assert [network.get("taggers") for network in whole.networks] == [[1], None]


def test_models_share_their_tagger(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = portable.gather([base / "run", base / "svm"])
    assert len(whole.networks) == 2 and [step.network for step in whole.steps] == [0, 0] and whole.results == (0, 1)
    asked = []
    compute = ReadyNetwork.compute
    monkeypatch.setattr(
        ReadyNetwork, "compute", lambda self, *given: (asked.append(given[0]), compute(self, *given))[1]
    )
    Predictor(whole, "cpu")
    assert sorted(asked) == ["embedding", "posterior", "tag"]  # of silence, each once


def test_every_network_has_its_channels(base: Path) -> None:
    predictor = stage.open_models([base / "run"], "cpu", None)
    tagger = predictor.networks[1]
    predictor.networks.append(copy.copy(tagger))
    predictor.networks[2].shape = (2, *tagger.shape[1:])  # as another model joined to this one may have
    with pytest.raises(DataError, match="a network was trained on 2"):
        predictor.hear(pieces(3, 3))


@pytest.mark.parametrize("classifier", [False, True])
def test_of_cross_fitted_taggers_it_is_the_mean(classifier: bool, base: Path, corpus: Path, tmp_path: Path) -> None:
    """Nobody has heard a new recording, so that all may tag it."""
    stores = [base / "tagger-train", base / "other-tagger-test"]
    whole = [base / "tagger-all", base / "other-tagger-all"]
    if classifier:  # posteriors of networks that share out 1 serve as tags, too
        stores, whole = [base / "classes"], [base / "classes"]
    given = [word for store in stores for word in ("--tags", store)]
    asctool("train", base / "rows", tmp_path / "run", *NETWORK, "--set", "tags=codecat", *given)
    clip = Store(base / "rows").tables.clips[0]
    means = np.mean([tags.load([store]).of_clip[clip.clip_id] for store in whole], 0, dtype=np.float32)
    row = Store(base / "rows").columns("array")["array"][:40000].T[None]
    predictor = stage.open_models([tmp_path / "run"], "cpu", None)
    expected = predictor.networks[0].compute("posterior", row, means[None])
    found = heard([tmp_path / "run"], clip.path)
    np.testing.assert_allclose(found, expected[0], atol=2e-4 if classifier else TOLERANCE)  # tags in bfloat16
    moved = predictor.networks[0].compute("posterior", row, means[None, ::-1].copy())
    assert np.abs(moved - expected).max() > 1e-3


def tags_given(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What will stand beside the rows of the first network."""
    given: list[np.ndarray] = []
    compute = predictor.networks[0].compute
    monkeypatch.setattr(predictor.networks[0], "compute", lambda k, r, t: (given.append(t), compute(k, r, t))[1])
    return given


def pieces(seconds: int, at_once: int) -> Iterator[Piece]:
    samples = np.random.default_rng(1).normal(size=(1, RATE * seconds)).astype(np.float32) / 9
    samples *= np.repeat(np.tile([1, 0.02, 0.3], -(-seconds // 3)), RATE)[None, : samples.shape[1]].astype(np.float32)
    samples[0, : RATE * seconds // 2] += np.sin(np.arange(RATE * seconds // 2) * 0.98)
    for first in range(0, seconds, at_once):
        yield samples[:, first * RATE : (first + at_once) * RATE], RATE, first + at_once >= seconds


def test_along_a_long_recording_tags_are_of_stretches(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces it comes in, told at the end or on the way; and rows wait for a stretch at most."""
    monkeypatch.setattr(tagging, "STRETCH_SECONDS", 20.0)
    monkeypatch.setattr("asctool.training.predictor.BATCH_ROWS", 4)
    predictor = stage.open_models([base / "clips"], "cpu", None)
    expected = predictor.hear(pieces(50, 50))
    given = tags_given(predictor, monkeypatch)
    parts = list(predictor.hear_each([pieces(50, 5)], in_stretches=True))
    assert len(parts) == 3 and [len(part.starts) for part in parts] == [8, 8, 4]  # type: ignore[union-attr]
    np.testing.assert_array_equal(np.concatenate([part.starts for part in parts]), expected.starts)  # type: ignore[union-attr]
    found = np.concatenate([part.timeline for part in parts])  # type: ignore[union-attr]
    np.testing.assert_allclose(found, expected.timeline, atol=TOLERANCE)
    np.testing.assert_allclose(parts[-1].posterior, expected.posterior, atol=1e-4)  # type: ignore[union-attr]
    assert len({rows.tobytes() for tags_ in given for rows in tags_}) == 3


def test_where_a_tagger_has_no_rows_its_tags_of_before_go_on(base: Path) -> None:
    networks = stage.open_models([base / "run"], "cpu", None).networks
    state = tagging.Tagging(networks)
    assert (state.beside(0, np.zeros(2)) == np.zeros((2, 3))).all()
    state.hear(1, np.array([0.0, 59.0, 60.0]), np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32))
    expected = [[0.5, 0.5, 0], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_allclose(state.beside(0, np.array([3.0, 61.0, 130.0])), expected)
    networks[0].taggers = (1, 2)  # another one that has heard nothing does not count
    np.testing.assert_allclose(state.beside(0, np.array([3.0, 61.0, 130.0])), expected)


@pytest.mark.parametrize("at_once", [65, 7])
def test_a_tagger_that_hears_nothing_leaves_zeros_whatever_the_pieces(
    at_once: int, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loudest row comes at the end, when all but the last rows of a long recording are told."""
    predictor = stage.open_models([base / "run"], "cpu", None)
    monkeypatch.setattr("asctool.training.predictor.BATCH_ROWS", 4)
    given = tags_given(predictor, monkeypatch)
    predictor.networks[1].plan = replace(predictor.networks[1].plan, silence_db=200.0)
    predictor.hear(pieces(65, at_once))
    assert np.concatenate(given).shape == (26, 3) and not np.concatenate(given).any()


def test_tags_fused_by_their_mean_bring_all_taggers(
    base: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "cnn", "--fold", 2, "--epochs", 1, "--set", "filters=[4, 8, 8]", "--quiet")
    asctool("train", corpus / "logmel", tmp_path / "other", *words)
    named = ("--kind", "tag", "--system", "att_crnn logmel", "--quiet")  # as the other one, of the other fold
    asctool("extract", tmp_path / "other", corpus / "logmel", tmp_path / "others", *named)
    for rule in ("mean", "max"):
        fused, out = tmp_path / f"tags-{rule}", tmp_path / f"run-{rule}"
        asctool("fuse", base / "classes", tmp_path / "others", fused, "--rule", rule, "--quiet")
        asctool("train", base / "rows", out, *NETWORK, "--set", "tags=codecat", "--tags", fused)
    assert portable.gather([tmp_path / "run-mean"]).networks[0]["taggers"] == [1, 2]
    assert run(["predict", "x.wav", "--model", str(tmp_path / "run-max")]) == 3
    assert "was fused by max" in capsys.readouterr().err


def test_rows_that_waited_for_their_tags_count_at_the_end(base: Path) -> None:
    predictor = stage.open_models([base / "run"], "cpu", None)
    recording = Recording(predictor)
    counts = []
    for samples, rate, is_last in pieces(50, 10):
        recording.push(samples, rate, is_last)
        counts.append(recording.n_waiting)
        if not is_last:
            predictor._compute_waiting([recording])
    held = sum(len(rows) for parts in recording.tagging.held.values() for _, rows in parts)
    assert held == counts[-1] > max(counts[:-1])


def test_a_run_of_before_its_tags_were_named_is_told(base: Path, tmp_path: Path) -> None:
    from shutil import copytree

    copytree(base / "run", tmp_path / "run")
    described = json.loads((tmp_path / "run" / "manifest.json").read_text())
    described["paths"] = {"features": described["paths"]["features"]}
    manifest.commit(tmp_path / "run", {k: v for k, v in described.items() if k not in ("files", "sha256")}, {})
    with pytest.raises((DataError, IntegrityError), match="train it with --force"):
        portable.gather([tmp_path / "run"])


def test_tags_made_anew_since_are_told(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asctool("extract", base / "tagger", base / "logmel", tmp_path / "tags", "--kind", "tag", "--quiet")
    asctool("train", base / "rows", tmp_path / "run", *NETWORK, "--set", "tags=codecat", "--tags", tmp_path / "tags")
    words = ("--kind", "tag", "--quiet", "--force")
    asctool("extract", base / "other-tagger", base / "logmel", tmp_path / "tags", *words)
    assert run(["predict", "x.wav", "--model", str(tmp_path / "run")]) == 5
    assert "it was made anew since" in capsys.readouterr().err


def test_a_bundle_whose_taggers_do_not_fit_is_refused(base: Path) -> None:
    whole = portable.gather([base / "run"])
    first, second = whole.networks
    crafted = {
        "a tagger that is not there": ({**first, "taggers": [7]}, second),
        "itself": ({**first, "taggers": [0]}, second),
        "twice": ({**first, "taggers": [1, 1]}, second),
        "none": ({k: v for k, v in first.items() if k != "taggers"}, second),
        "no numbers": ({**first, "taggers": ["1"]}, second),
        "of each other": ({**first, "taggers": [1]}, {**second, "taggers": [0]}),
        "a network that nothing uses": (first, second, second),
    }
    for networks in crafted.values():
        with pytest.raises(IntegrityError):
            Predictor(bundle.decode(bundle.encode(replace(whole, networks=networks))))


def test_onnx_goes_without_tags(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bundle", str(base / "run"), str(tmp_path / "model.onnx"), "--onnx"]) == 2
    assert "which is not exported" in capsys.readouterr().err
