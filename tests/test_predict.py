"""predict: what the stages gave on the same clips, from a result or from its bundle; and everything people feed it."""

import csv
import io
import json
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import SMALL, asctool

from asctool.cli import run
from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion
from asctool.stages import bundle as bundle_stage
from asctool.stages import predict as stage
from asctool.storage import audio, bundle
from asctool.storage.bundle import Bundle, Step
from asctool.storage.store import Store
from asctool.training import portable
from asctool.training.predictor import Piece, Predictor

TOLERANCE = 2e-5  # of a posterior: batches of another size round otherwise, and a product of segments adds that up


@pytest.fixture(scope="module")
def lab(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A softmax, an SVM, and both fused, in a folder of their own; and their bundle. float32, as predict computes."""
    base = tmp_path_factory.mktemp("lab")
    options = ("--model", "att_crnn", "--fold", 1, "--epochs", 2, *SMALL, "--set", "precision=float32", "--quiet")
    asctool("train", corpus / "logmel", base / "run", *options)
    asctool("extract", base / "run", corpus / "logmel", base / "embeddings", "--kind", "embedding")
    asctool("extract", base / "run", corpus / "logmel", base / "softmax", "--kind", "posterior")
    asctool("svm", base / "embeddings", base / "svm")
    asctool("fuse", base / "softmax", base / "svm", base / "fused", "--system", "both")
    asctool("fuse", base / "softmax", base / "svm", base / "segments", "--level", "segment", "--rule", "mean")
    asctool("fuse", base / "segments", base / "twice", "--rule", "max")
    asctool("bundle", base / "fused", base / "model.asc")
    return base


def clip_paths(corpus: Path) -> dict[str, str]:
    return {clip.clip_id: clip.path for clip in Store(corpus / "logmel").tables.clips}


def heard(model: Path, path: str, rule: str | None = None):  # type: ignore[no-untyped-def]
    return stage.open_models([model], "cpu", rule).hear(audio.pieces(Path(path), 60))


@pytest.mark.parametrize("name", ["fused", "twice"])
def test_clips_are_judged_as_by_the_stages(name: str, lab: Path, corpus: Path) -> None:
    """extract, svm and fuse on the test clips, against predict on their files."""
    predictor, paths = stage.open_models([lab / name], "cpu"), clip_paths(corpus)
    columns = Store(lab / name).columns("clip_id", "array")
    assert len(columns["clip_id"]) == 12
    for clip_id, expected in zip(columns["clip_id"], columns["array"]):
        found = predictor.hear(audio.pieces(Path(paths[clip_id]), 60))
        np.testing.assert_allclose(found.posterior, expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["softmax", "svm", "segments"])
def test_segments_are_judged_as_by_the_stages(name: str, lab: Path, corpus: Path) -> None:
    columns = Store(lab / name).columns("clip_id", "start", "array", "subset")
    predictor, paths = stage.open_models([lab / name], "cpu"), clip_paths(corpus)
    for clip_id in np.unique(columns["clip_id"][columns["subset"] == "test"])[:4]:
        own = columns["clip_id"] == clip_id
        found = predictor.hear(audio.pieces(Path(paths[clip_id]), 60))
        np.testing.assert_allclose(found.starts, columns["start"][own])
        np.testing.assert_allclose(found.ends, columns["start"][own] + 1.0, atol=1e-9)
        np.testing.assert_allclose(found.timeline, columns["array"][own], atol=TOLERANCE)


def test_a_bundle_says_what_its_result_says_where_that_is_gone(lab: Path, corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(lab, tmp_path / "lab")
    asctool("bundle", tmp_path / "lab" / "fused", tmp_path / "model.asc")
    assert (tmp_path / "model.asc").read_bytes() == (lab / "model.asc").read_bytes()
    path = next(iter(clip_paths(corpus).values()))
    expected = heard(tmp_path / "lab" / "fused", path)
    shutil.rmtree(tmp_path / "lab")
    found = heard(tmp_path / "model.asc", path)
    np.testing.assert_array_equal(found.posterior, expected.posterior)
    np.testing.assert_array_equal(found.timeline, expected.timeline)


def test_folds_and_models_are_joined_by_their_product_or_by_the_rule_asked_for(lab: Path, corpus: Path) -> None:
    path = next(iter(clip_paths(corpus).values()))
    singles = np.stack([heard(lab / name, path).posterior for name in ("softmax", "svm")])
    together = Predictor(portable.gather([lab / "softmax", lab / "svm"]), "cpu").hear(audio.pieces(Path(path), 60))
    logs = np.log(singles).sum(0)
    np.testing.assert_allclose(together.posterior, np.exp(logs) / np.exp(logs).sum(), rtol=1e-4)
    mean = Predictor(portable.gather([lab / "softmax", lab / "svm"]), "cpu", "mean")
    np.testing.assert_allclose(mean.hear(audio.pieces(Path(path), 60)).posterior, singles.mean(0), rtol=1e-5)


@pytest.mark.parametrize("rule", fusion.LEARNED)
def test_learned_rules_are_applied_within_their_fold(rule: str, lab: Path, corpus: Path) -> None:
    """Weights that differ from fold to fold: of each fold its own, then the product of the folds."""
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.ones(6), (2, 40))
    learned = {fold: fusion.learn(rule, posteriors[:, fold * 20 :][:, :20], rng.integers(0, 6, 20)) for fold in (0, 1)}
    parts = portable.gather([lab / "softmax", lab / "svm"])
    steps = tuple(replace(step, fold=fold + 1) for fold in (0, 1) for step in parts.steps)
    model = {f"fuse/4/fold {f + 1} {name}": value for f, part in learned.items() for name, value in part.items()}
    again = {name.replace("svm/1/", "svm/3/"): value for name, value in parts.arrays.items()}
    fused = Step("fuse", "learned", of=(0, 1, 2, 3), rule=rule, level="clip")
    whole = Bundle(parts.classes, parts.networks, (*steps, fused), (4,), {**parts.arrays, **again, **model})
    path = next(iter(clip_paths(corpus).values()))
    found = Predictor(bundle.decode(bundle.encode(whole)), "cpu").hear(audio.pieces(Path(path), 60))
    systems = np.stack([heard(lab / name, path).posterior for name in ("softmax", "svm")])[:, None]
    folds = np.stack([fusion.apply_learned(rule, part, systems) for part in learned.values()])
    np.testing.assert_allclose(found.posterior, fusion.combine(folds, "product")[0], atol=1e-4)


def test_memory_does_not_grow_with_a_recording(lab: Path) -> None:
    predictor = stage.open_models([lab / "model.asc"], "cpu")
    piece = np.random.default_rng(0).normal(size=(1, 16000 * 10)).astype(np.float32) / 9

    def peak(n_pieces: int) -> int:
        def pieces() -> Iterator[tuple[np.ndarray, int, bool]]:
            for i in range(n_pieces):
                yield piece, 16000, i == n_pieces - 1

        tracemalloc.start()
        found = predictor.hear(pieces())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert found.seconds == pytest.approx(10 * n_pieces) and len(found.starts) == 10 * n_pieces
        return peak

    peak(2)  # what is made once
    assert peak(16) < 1.1 * peak(4)


def test_files_of_any_kind_are_answered_and_bad_ones_told(
    lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    samples = np.round(rng.normal(size=(44100, 1)) * 3000) / 32768
    soundfile.write(tmp_path / "in" / "a.wav", samples, 44100, "PCM_16")
    soundfile.write(tmp_path / "in" / "deep" / "a.flac", samples, 44100, "PCM_24")
    soundfile.write(tmp_path / "in" / "deep" / "twice.wav", np.repeat(samples, 2, 1), 44100, "FLOAT")
    soundfile.write(tmp_path / "in" / "short.ogg", samples[:900], 8000)
    soundfile.write(tmp_path / "in" / 'odd "name", $(rm)\n.wav', samples, 96000)
    (tmp_path / "in" / "b.wav").write_bytes((tmp_path / "in" / "a.wav").read_bytes()[:3000])
    (tmp_path / "in" / "notes.txt").write_text("no audio, and not named so")
    (tmp_path / "empty").mkdir()
    inputs = [str(tmp_path / name) for name in ("in", "empty", "none.wav")]
    assert run(["predict", *inputs, "--model", str(lab / "model.asc"), "--json"]) == 3
    out, err = capsys.readouterr()
    answers = {Path(answer["recording"]).name: answer for answer in map(json.loads, out.splitlines())}
    assert len(answers) == 8 and "3 of 8 recordings could not be used" in err
    assert "cut short" in answers["b.wav"]["problem"] and str(tmp_path) not in answers["b.wav"]["problem"]
    assert answers["empty"]["problem"] == "holds no audio files"
    assert "No such file" in answers["none.wav"]["problem"]
    for name in ("a.flac", "twice.wav"):
        assert answers[name]["posteriors"] == pytest.approx(answers["a.wav"]["posteriors"], abs=1e-5)
    for name in ("a.wav", "short.ogg", 'odd "name", $(rm)\n.wav'):
        assert sum(answers[name]["posteriors"].values()) == pytest.approx(1, abs=1e-4)
        assert answers[name]["class"] == max(answers[name]["posteriors"], key=answers[name]["posteriors"].get)


def test_a_timeline_as_a_table(lab: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(iter(clip_paths(corpus).values()))
    capsys.readouterr()
    asctool("predict", path, "--model", lab / "svm", "--csv", "--timeline")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["start"], row["end"]) for row in rows] == [("0.0", "1.0"), ("1.0", "2.0"), ("1.5", "2.5")]
    columns = Store(lab / "svm").columns("clip_id", "array")
    assert list(rows[0])[5:] == [f"posterior of {name}" for name in Store(lab / "svm").tables.classes]
    asctool("predict", path, "--model", lab / "svm", "--timeline")
    head, *segments, whole = capsys.readouterr().out.splitlines()
    assert head == f"{path}:" and len(segments) == 3 and whole.startswith(f"{path}: ")
    assert [line.split()[:4] for line in segments] == [
        ["0.00", "to", "1.00", "s"],
        ["1.00", "to", "2.00", "s"],
        ["1.50", "to", "2.50", "s"],
    ]
    assert columns["array"].shape[1] == 6


def test_what_is_unlikely_is_unknown(lab: Path, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(iter(clip_paths(corpus).values()))
    capsys.readouterr()
    asctool("predict", path, "--model", lab / "svm", "--json")
    sure = json.loads(capsys.readouterr().out)
    for limit, label in ((sure["posterior"] - 1e-4, sure["class"]), (sure["posterior"] + 1e-4, "unknown")):
        asctool("predict", path, "--model", lab / "svm", "--json", "--unknown-below", limit)
        assert json.loads(capsys.readouterr().out)["class"] == label
    asctool("predict", path, "--model", lab / "svm", "--unknown-below", 1)
    assert f"unknown, {sure['class']} {sure['posterior']:.3f} at best" in capsys.readouterr().out


def test_standard_input_is_a_recording(
    lab: Path, corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(iter(clip_paths(corpus).values()))
    for data, expected in ((Path(path).read_bytes(), 0), (b"no audio", 3)):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert run(["predict", "-", "--model", str(lab / "model.asc"), "--json"]) == expected
        answer = json.loads(capsys.readouterr().out)
        assert answer["recording"] == "-"
        assert ("class" in answer) is (expected == 0) and "/tmp" not in answer.get("problem", "")


def test_what_is_wrong_with_standard_input_is_told(
    lab: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the words are."""

    def refuse(path: Path, seconds: float) -> Iterator[Piece]:
        raise DataError("2 channels, where 1 was learned from")
        yield

    monkeypatch.setattr(stage.audio, "pieces", refuse)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"audio")))
    assert run(["predict", "-", "--model", str(lab / "model.asc"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["problem"] == "2 channels, where 1 was learned from"


BAD = {
    "no model": (2, "Missing option", "predict x.wav"),
    "no such model": (3, "there is no such run, result or bundle", "predict x.wav --model {tmp}/none"),
    "not a model": (5, "is no bundle", "predict x.wav --model {data}/clips.csv"),
    "features": (3, "give a run, what svm or fuse wrote, or a bundle", "predict x.wav --model {features}"),
    "embeddings": (3, "kind 'embedding'", "predict x.wav --model {lab}/embeddings"),
    "no such rule": (2, "unknown rule 'sum'", "predict x.wav --model {lab}/svm --rule sum"),
    "no probability": (2, "--unknown-below 2", "predict x.wav --model {lab}/svm --unknown-below 2"),
    "both formats": (2, "give one of them", "predict x.wav --model {lab}/svm --json --csv"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_use_is_one_line(
    case: str, lab: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, words, arguments = BAD[case]
    names = {"lab": lab, "tmp": tmp_path, "data": corpus / "data", "features": corpus / "logmel"}
    capsys.readouterr()
    assert run([word.format(**names) for word in arguments.split()]) == code
    out, err = capsys.readouterr()
    assert words in err and "Traceback" not in err and not out


def test_a_result_whose_ground_has_changed_is_refused(
    lab: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another run, another SVM, an embedding that is gone: each is told, with its path."""
    for name in ("run", "embeddings", "softmax", "svm", "fused"):
        shutil.copytree(lab / name, tmp_path / name)
    arguments = ["predict", "x.wav", "--model", str(tmp_path / "fused")]
    asctool("svm", tmp_path / "embeddings", tmp_path / "svm", "--set", "c=10.0", "--force")
    assert run(arguments) == 5
    assert "made anew since" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "svm")
    shutil.copytree(lab / "svm", tmp_path / "svm")
    shutil.rmtree(tmp_path / "run")
    assert run(arguments) == 3
    assert "cannot be used" in capsys.readouterr().err
    shutil.copytree(lab / "run", tmp_path / "run")
    data = bytearray((tmp_path / "svm" / "svm.h5").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "svm" / "svm.h5").write_bytes(data)
    assert run(arguments) == 5
    assert "svm.h5" in capsys.readouterr().err


def test_another_number_of_channels_is_told(lab: Path) -> None:
    """Features of a recording's own channels: a network of stereo recordings cannot take a mono one."""
    whole = portable.gather([lab / "run"])
    network = json.loads(json.dumps(whole.networks[0]))
    network["config"]["features"]["channels"] = "own"
    predictor = Predictor(replace(whole, networks=(network,)), "cpu")
    noise = np.random.default_rng(0).normal(size=(2, 32000)).astype(np.float32)
    assert predictor.hear([(noise[:1], 16000, True)]).posterior.sum() == pytest.approx(1)
    with pytest.raises(DataError, match="trained on 2"):
        predictor.hear([(noise, 16000, True)])


def test_onnx_of_a_result_is_each_of_its_networks(lab: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra asctool[onnx] is not installed")
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        bundle_stage.onnx([lab / "fused"], tmp_path / "network.asc")
    written = bundle_stage.onnx([lab / "fused"], tmp_path / "network.onnx")
    assert written == [tmp_path / "network.onnx"] and written[0].stat().st_size > 1000
