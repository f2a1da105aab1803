"""predict, bundle and fuse where labels are scored each by itself; and networks on waveforms."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import asctool
from made_posteriors import clips_of, make_store, make_tables, store_of_folds
from test_tagging import SMALL, sounds  # noqa: F401  (a fixture)

from asctool.cli import run
from asctool.errors import UsageError
from asctool.stages import predict as stage
from asctool.storage import audio, bundle, tags
from asctool.storage.store import Store

TOLERANCE = 1e-5  # of a score: rows are computed in other company


@pytest.fixture(scope="module")
def taggers(sounds: Path) -> Path:  # noqa: F811
    """Two taggers in float32, as predict computes, their tags, and both fused."""
    for seed in (1, 2):
        name = sounds / f"tagger-{seed}"
        asctool("train", sounds / "logmel", name, *SMALL, "--seed", seed, "--set", "precision=float32")
        words = ("--kind", "tag", "--quiet", "--system", f"tagger {seed}")
        asctool("extract", name, sounds / "logmel", sounds / f"tags-{seed}", *words)
    asctool("fuse", sounds / "tags-1", sounds / "tags-2", sounds / "both", "--quiet")
    return sounds


def clips(lab: Path) -> dict[str, str]:
    return {clip.clip_id: clip.path for clip in Store(lab / "logmel").tables.clips}


def heard(models: list[Path], path: str, rule: str | None = None) -> np.ndarray:
    return stage.open_models(models, "cpu", rule).hear(audio.pieces(Path(path), 60)).posterior


@pytest.mark.parametrize("name", ["tagger-1", "tags-1"])
def test_scores_are_those_that_extract_wrote(name: str, taggers: Path) -> None:
    expected = tags.load([taggers / "tags-1"]).of_clip
    for clip_id, path in list(clips(taggers).items())[:6]:
        np.testing.assert_allclose(heard([taggers / name], path), expected[clip_id], atol=TOLERANCE)


def test_several_taggers_are_joined_by_their_mean_or_their_maximum(taggers: Path) -> None:
    path = next(iter(clips(taggers).values()))
    alone = np.stack([heard([taggers / f"tagger-{n}"], path) for n in (1, 2)])
    models = [taggers / "tagger-1", taggers / "tagger-2"]
    np.testing.assert_allclose(heard(models, path), alone.mean(0), atol=TOLERANCE)
    np.testing.assert_allclose(heard([taggers / "both"], path), alone.mean(0), atol=TOLERANCE)
    np.testing.assert_allclose(heard(models, path, "max"), alone.max(0), atol=TOLERANCE)
    with pytest.raises(UsageError, match="tags are joined by mean or max"):
        heard(models, path, "product")


def test_fused_tags_are_the_mean_of_each_clip_s(taggers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = (tags.load([taggers / f"tags-{n}"]).of_clip for n in (1, 2))
    store = Store(taggers / "both", "tag")
    assert store.manifest["labels"] == list(store.tables.classes)
    assert store.config["rule"] == "mean" and store.manifest["level"] == "clip"
    columns = store.columns("clip_id", "array")
    for clip_id, found in zip(columns["clip_id"].tolist(), columns["array"]):
        np.testing.assert_allclose(found, (one[clip_id] + two[clip_id]) / 2, rtol=1e-6)
    capsys.readouterr()
    asctool("score", taggers / "both", taggers / "tags-1", "--json")
    systems = [system["system"] for system in json.loads(capsys.readouterr().out)["systems"]]
    assert systems == ["tagger 1 + tagger 2", "tagger 1"]


def test_what_a_classifier_heard_in_clips_is_predicted_as_it_was_written(
    trained: Path, corpus: Path, tmp_path: Path
) -> None:
    """Tags of a network that shares out 1: the mean of its segments, where its posteriors would be their product."""
    asctool("extract", trained, corpus / "logmel", tmp_path / "tags", "--kind", "tag", "--quiet")
    (clip_id, expected), *_ = tags.load([tmp_path / "tags"]).of_clip.items()
    found = heard([tmp_path / "tags"], clips(corpus)[clip_id])
    np.testing.assert_allclose(found, expected, atol=0.02)  # extract may compute in bfloat16
    assert found.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("rule", ["product", "vote", "weighted", "stack"])
def test_rules_of_distributions_do_not_fuse_tags(
    rule: str, taggers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fuse", str(taggers / "tags-1"), str(taggers / "tags-2"), str(tmp_path / "out"), "--rule", rule]
    assert run(words) == 2
    assert "tags are joined by mean or max" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_tags_and_posteriors_are_not_fused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = make_tables()
    ids = clips_of(tables, 1)
    make_store(tmp_path / "tags", tables, ids, np.full((len(ids), 3), 0.7), "tagger", kind="tag")
    make_store(tmp_path / "posteriors", tables, ids, np.full((len(ids), 3), 1 / 3), "classifier")
    make_store(tmp_path / "pieces", tables, ids, np.full((len(ids), 3), 0.7), "pieces", kind="tag", level="segment")
    assert run(["fuse", str(tmp_path / "tags"), str(tmp_path / "posteriors"), str(tmp_path / "out")]) == 3
    assert "cannot be fused" in capsys.readouterr().err
    assert run(["fuse", str(tmp_path / "pieces"), str(tmp_path / "out")]) == 3
    assert "fuse joins tags of clips" in capsys.readouterr().err


def test_folds_of_tags_are_one_store_and_one_submission(tmp_path: Path) -> None:
    """Folds that test the same clips: the mean of what they say."""
    tables = make_tables(n_folds=1, labels=[()] * 12)
    ids = [clip.clip_id for clip in tables.clips]
    scores = np.random.default_rng(0).random((2, 12, 3)).astype(np.float32)
    both = [*ids, *ids]
    make_store(tmp_path / "tags", tables, both, np.concatenate(scores), fold=[1] * 12 + [2] * 12, kind="tag")
    asctool("submit", tmp_path / "tags", tmp_path / "out.csv", "--allow-missing", "--quiet")
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["clip_id"] for row in rows] == ids
    found = [[float(row[name]) for name in tables.classes] for row in rows]
    np.testing.assert_allclose(found, scores.mean(0), rtol=1e-6)
    path, arrays = store_of_folds(tmp_path / "folds", make_tables(), kind="tag")
    asctool("fuse", path, tmp_path / "whole")
    columns = Store(tmp_path / "whole").columns("fold", "array")
    for fold, array in arrays.items():
        np.testing.assert_allclose(columns["array"][columns["fold"] == fold], array, rtol=1e-6)


def test_a_bundle_of_taggers_says_the_same_anywhere(taggers: Path, tmp_path: Path) -> None:
    asctool("bundle", taggers / "both", tmp_path / "tagger.asc", "--quiet")
    path = next(iter(clips(taggers).values()))
    np.testing.assert_array_equal(heard([tmp_path / "tagger.asc"], path), heard([taggers / "both"], path))
    whole = bundle.read(tmp_path / "tagger.asc")
    assert [step.do for step in whole.steps] == ["network", "network", "fuse"] and whole.steps[2].rule == "mean"


def test_labels_from_a_limit_on_are_told(taggers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(iter(clips(taggers).values()))
    scores = dict(zip(Store(taggers / "logmel").tables.classes, heard([taggers / "tagger-1"], path).tolist()))
    order = sorted(scores, key=lambda name: -scores[name])
    between = (scores[order[1]] + scores[order[2]]) / 2
    words = ("predict", path, "--model", taggers / "tagger-1", "--unknown-below")
    capsys.readouterr()
    asctool(*words, between, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["labels"] == order[:2] and told["scores"] == pytest.approx(scores, abs=1e-5)
    asctool(*words, between)
    first, second, third = (f"{name} {scores[name]:.3f}" for name in order)
    assert capsys.readouterr().out == f"{path}: {first}, {second} ({third})\n"
    asctool(*words, between, "--csv")
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["labels"] == ";".join(order[:2]) and float(row[f"score of {order[0]}"]) == pytest.approx(
        scores[order[0]], abs=1e-5
    )
    asctool(*words, 1)
    assert capsys.readouterr().out == f"{path}: unknown ({first}, {second})\n"
    asctool(*words, 1, "--json", "--timeline")
    segments = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert segments[0]["labels"] == [] and {"start", "end"} <= set(segments[0]) and "seconds" in segments[-1]


def test_the_default_limit_is_as_likely_as_not(taggers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    asctool("predict", *clips(taggers).values(), "--model", taggers / "tagger-1", "--json")
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 24
    for answer in answers:
        assert set(answer["labels"]) == {name for name, score in answer["scores"].items() if score >= 0.5}


@pytest.fixture(scope="module")
def waves(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet on waveforms, and its posteriors."""
    base = tmp_path_factory.mktemp("waves")
    options = ("--type", "waveform", "--set", "sample_rate=16000", "--set", "segment_frames=16000", "--jobs", 1)
    asctool("featurize", corpus / "data", base / "rows", *options, "--quiet")
    small = ("--set", "filters=4", "--set", "blocks=3", "--set", "code=6", "--set", "precision=float32")
    asctool(
        "train", base / "rows", base / "run", "--model", "raw_resnet", "--fold", 1, "--epochs", 1, *small, "--quiet"
    )
    asctool("extract", base / "run", base / "rows", base / "posteriors", "--kind", "posterior", "--quiet")
    asctool("fuse", base / "posteriors", base / "clips", "--quiet")
    return base


def test_a_network_on_waveforms_is_heard_as_by_the_stages(waves: Path, tmp_path: Path) -> None:
    asctool("bundle", waves / "clips", tmp_path / "model.asc", "--quiet")
    store = Store(waves / "clips")
    columns = store.columns("clip_id", "array")
    for clip_id, expected in list(zip(columns["clip_id"], columns["array"]))[:4]:
        path = store.tables.by_id[clip_id].path
        np.testing.assert_allclose(heard([tmp_path / "model.asc"], path), expected, atol=2e-5)


def test_taggers_and_classifiers_are_not_joined(
    taggers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the same classes, one trained to share out 1, one to score each by itself."""
    asctool("bundle", taggers / "tagger-1", tmp_path / "tagger.asc", "--quiet")
    whole = bundle.read(tmp_path / "tagger.asc")
    network = json.loads(json.dumps(whole.networks[0]))
    network["config"]["training"]["loss"] = "kl"
    bundle.write(
        tmp_path / "other.asc", bundle.Bundle(whole.classes, (network,), whole.steps, whole.results, whole.arrays)
    )
    words = ["predict", "x.wav", "--model", str(tmp_path / "tagger.asc"), "--model", str(tmp_path / "other.asc")]
    assert run(words) == 2
    assert "give models of one kind" in capsys.readouterr().err


def test_tags_from_elsewhere_are_told(waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Networks that take them are trained and scored by asctool, but nothing here tags a new recording."""
    store = Store(waves / "rows")
    ids = [clip.clip_id for clip in store.tables.clips]
    make_store(tmp_path / "tags", store.tables, ids, np.full((len(ids), 6), 0.5), "tagger", kind="tag")
    small = ("--set", "filters=4", "--set", "blocks=3", "--set", "code=6", "--set", "tags=codecat")
    words = ("--model", "raw_resnet", "--fold", 1, "--epochs", 1, "--tags", tmp_path / "tags", *small, "--quiet")
    asctool("train", waves / "rows", tmp_path / "run", *words)
    for command in (["predict", "x.wav", "--model", "{run}"], ["bundle", "{run}", "{out}"]):
        names = {"run": tmp_path / "run", "out": tmp_path / "model.asc"}
        assert run([word.format(**names) for word in command]) == 3
        assert "tags: is by no network of asctool" in capsys.readouterr().err
