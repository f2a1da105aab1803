"""The chain cannot be fooled: test recordings decide nothing, labels without signal are guessed, rows go by their ids.

Over every network and every transform of the folders, so that a new one is held to it.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import asctool
from small import WIDE, small

from asctool import registry
from asctool.cli import run
from asctool.stages.augment import takes
from asctool.storage import locks, manifest, rows, settings
from asctool.storage.data_directory import DataDirectory
from asctool.storage.manifest import Recipe
from asctool.storage.shards import Columns
from asctool.storage.store import Store, write_rows

MODELS, TRANSFORMS = registry.names("models"), registry.names("transforms")
OF_CLIPS = [name for name in TRANSFORMS if takes(name) == "clips"]
OF_ROWS = [name for name in TRANSFORMS if name not in OF_CLIPS]
RATE = 16000
STORES = {
    "feature": ("logmel", ("--type", "logmel", "--set", f"sample_rate={RATE}", "--set", "segment_frames=40")),
    "waveform": ("waves", ("--type", "waveform", "--set", f"sample_rate={RATE}")),
}
TRAINING = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "loss": "kl", "crop_frames": [], "mix": "none"}
QUIET = ("--jobs", 1, "--quiet")


def options(values: dict[str, Any]) -> list[str]:
    """Settings as words of a command line."""
    return [word for key, value in values.items() if value is not None for word in ("--set", f"{key}={value}")]


def train(model: str, features: Path, out: Path, fold: int = 1, wide: int = WIDE, **more: Any) -> Path:
    """A small network trained for a moment."""
    given = options({**settings.as_dict(small(model, wide)), **TRAINING, **more})
    asctool("train", features, out, "--model", model, "--fold", fold, "--seed", 0, "--device", "cpu", "--quiet", *given)
    return out


def store_of(model: str) -> str:
    """The name of the store that a network takes."""
    return STORES[registry.load("models", model).TAKES][0]


def make_stores(base: Path, data: Path) -> None:
    for name, arguments in STORES.values():
        asctool("featurize", data, base / name, *arguments, *QUIET)


# Row 20: the recordings that are tested with


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two corpora that are alike but for the test recordings of fold 1, which are noise in the second."""
    heard, unheard = (tmp_path_factory.mktemp(name) for name in ("heard", "unheard"))
    made = {"n_clips_per_class": 4, "n_recordings_per_class": 4, "seconds": 1, "sample_rate": RATE, "n_folds": 2}
    asctool("prep", "synthetic", heard / "audio", heard / "made", *options(made), *QUIET)
    _prepare(heard)
    shutil.copytree(heard / "audio", unheard / "audio")
    rng, tables = np.random.default_rng(0), DataDirectory(heard / "data").tables
    for clip_id, subset in tables.subset_of(1).items():
        if subset == "test":
            path = unheard / "audio" / Path(tables.by_id[clip_id].path).relative_to(heard / "audio")
            soundfile.write(path, rng.normal(size=RATE) / 8, RATE, subtype="PCM_16")
    _prepare(unheard)
    assert (heard / "data" / "folds.csv").read_bytes() == (unheard / "data" / "folds.csv").read_bytes()
    for base in (heard, unheard):
        make_stores(base, base / "data")
    assert Store(heard / "logmel").content != Store(unheard / "logmel").content
    return heard, unheard


def _prepare(base: Path) -> None:
    asctool("prep", "folder", base / "audio", base / "data", "--valid", "0.5", "--set", "n_folds=2", *QUIET)


def outcome(base: Path, model: str) -> dict[str, Any]:
    """All that a chain learns: weights, normalisation, the SVM's arrays, both kinds of fusion weights."""
    out = base / model
    out.mkdir()
    found = manifest.read(train(model, base / store_of(model), out / "run"))
    for kind in ("embedding", "posterior"):
        asctool("extract", out / "run", base / store_of(model), out / kind, "--kind", kind, "--quiet")
    asctool("svm", out / "embedding", out / "svm", "--set", "calibration_folds=2", "--quiet")
    learned = {"weights": found["content"], "normalization": found["normalization"]}
    for rule in ("weighted", "stack"):
        asctool("fuse", out / "posterior", out / "svm", out / rule, "--rule", rule, "--quiet")
        learned[rule] = (out / rule / "fusion.h5").read_bytes()
    return learned | {"svm": (out / "svm" / "svm.h5").read_bytes()}


@pytest.mark.parametrize("model", MODELS)
def test_test_recordings_decide_nothing(model: str, twins: tuple[Path, Path]) -> None:
    heard, unheard = (outcome(base, model) for base in twins)
    assert {key for key in heard if heard[key] != unheard[key]} == set()
    stores = [Store(base / model / "posterior").columns("array", "subset") for base in twins]
    test = stores[0]["subset"] == "test"
    assert test.any() and not np.array_equal(stores[0]["array"][test], stores[1]["array"][test])  # they were heard


@pytest.mark.parametrize("model", MODELS)
def test_statistics_are_those_of_training_rows(model: str, twins: tuple[Path, Path], tmp_path: Path) -> None:
    store = twins[0] / store_of(model)
    found = manifest.read(train(model, store, tmp_path / "run", epochs=1))["normalization"]
    data = rows.load(Store(store), 1)
    chosen = np.asarray(data.features)[data.select("train")].astype(np.float64)
    axes = (0, *range(2, chosen.ndim))
    np.testing.assert_allclose(found["mean"], chosen.mean(axes), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found["deviation"], chosen.std(axes), rtol=1e-6)


# Row 18: what is made of a recording


@pytest.mark.parametrize("method", OF_CLIPS)
def test_copies_of_a_test_clip_never_train(method: str, twins: tuple[Path, Path], tmp_path: Path) -> None:
    contents = []
    for name, base in zip(("heard", "unheard"), twins):
        varied, logmel = tmp_path / f"{name}-varied", tmp_path / f"{name}-logmel"
        asctool("augment", base / "data", varied, "--method", method, "--copies", 1, *QUIET)
        asctool("featurize", varied, logmel, *STORES["feature"][1], *QUIET)
        contents.append(manifest.read(train("cnn", logmel, tmp_path / f"{name}-run"))["content"])
    store = Store(tmp_path / "heard-logmel")
    clips = store.tables.by_id
    for fold in store.tables.fold_numbers:
        subset_of, data = store.tables.subset_of(fold), rows.load(store, fold)
        used = {
            name: [clips[clip_id] for clip_id in set(data.clip_ids[data.select(name)])]
            for name in ("train", "valid", "test")
        }
        copies = [clip for clip in used["train"] if clip.is_copy]
        assert len(copies) == sum(not clip.is_copy for clip in used["train"])
        assert {subset_of[clip.source_clip_id] for clip in copies} == {"train"}
        assert not [clip for clip in used["valid"] + used["test"] if clip.is_copy]
    assert contents[0] == contents[1]


@pytest.mark.parametrize("method", OF_ROWS)
def test_rows_are_made_of_training_rows_alone(method: str, twins: tuple[Path, Path], tmp_path: Path) -> None:
    contents = []
    for name, base in zip(("heard", "unheard"), twins):
        out = tmp_path / name
        asctool("augment", base / "logmel", out, "--method", method, "--fold", 1, "--quiet")
        contents.append((Store(out).content, manifest.read(train("cnn", out, tmp_path / f"{name}-run"))["content"]))
        columns = Store(out).columns("clip_id", "partner_clip_id", "subset")
        of_clip = Store(base / "logmel").tables.subset_of(1)
        used = {clip for column in ("clip_id", "partner_clip_id") for clip in columns.get(column, np.zeros(0)).tolist()}
        assert {of_clip[clip] for clip in used if clip} == {"train"} and set(columns["subset"].tolist()) == {"train"}
        plain = rows.load(Store(base / "logmel"), 1)
        mean = np.asarray(plain.features)[plain.select("train")].mean((0, 2, 3), dtype=np.float64)
        np.testing.assert_allclose(Store(out).manifest["normalization"]["mean"], mean, rtol=1e-5)
    assert contents[0] == contents[1]


@pytest.mark.parametrize("mix", ["between_class", "mixup"])
def test_mixing_while_training_takes_no_test_row(mix: str, twins: tuple[Path, Path], tmp_path: Path) -> None:
    runs = [train("cnn", base / "logmel", tmp_path / base.name, mix=mix) for base in twins]
    assert manifest.read(runs[0])["content"] == manifest.read(runs[1])["content"]


# Row 19: recordings that tell nothing of their labels

N_RECORDINGS, PIECES = 24, 3  # a colour of noise each, and one of three labels by turns


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of recordings that are known by their colour; their labels are arbitrary."""
    base, rng = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for number in range(N_RECORDINGS):
        folder = base / "audio" / "abc"[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        loudness = np.exp(np.interp(np.linspace(0, 1, RATE + 1), np.linspace(0, 1, 12), rng.normal(0, 2, 12)))
        for piece in range(PIECES):
            noise = np.fft.irfft(np.fft.rfft(rng.normal(size=2 * RATE)) * loudness)[:RATE]
            soundfile.write(folder / f"{number:02d}-{piece}.wav", noise / np.abs(noise).max() / 2, RATE)
    for name, group in (("grouped", "prefix"), ("leaking", "file")):
        data = base / name / "data"
        data.parent.mkdir()
        asctool("prep", "folder", base / "audio", data, *options({"n_folds": 2, "group": group}), *QUIET)
        make_stores(data.parent, data)
    return base


def accuracy(base: Path, model: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Of softmax and SVM, over both folds; the network is trained long enough to know its training rows."""
    inputs = []
    for fold in (1, 2):
        out = base / f"{model}-{fold}"
        out.mkdir()
        train(model, base / store_of(model), out / "run", fold, wide=32, epochs=8)
        for kind in ("embedding", "posterior"):
            asctool("extract", out / "run", base / store_of(model), out / kind, "--kind", kind, "--quiet")
        asctool("svm", out / "embedding", out / "svm", "--set", "calibration_folds=2", "--quiet")
        inputs += [out / "posterior", out / "svm"]
    asctool("fuse", *inputs[0::2], base / f"{model}-softmax", "--system", "softmax", "--quiet")
    asctool("fuse", *inputs[1::2], base / f"{model}-svm", "--system", "svm", "--quiet")
    capsys.readouterr()
    asctool("score", base / f"{model}-softmax", base / f"{model}-svm", "--json", "--quiet")
    told = json.loads(capsys.readouterr().out)["systems"]
    return {system["system"]: np.trace(system["confusion"]) / np.sum(system["confusion"]) for system in told}


@pytest.mark.parametrize("model", MODELS)
def test_labels_without_signal_stay_at_chance(model: str, colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Within three deviations of N_RECORDINGS guesses among three labels: the clips of a recording err together."""
    found = accuracy(colours / "grouped", model, capsys)
    deviation = np.sqrt(1 / 3 * 2 / 3 / N_RECORDINGS)
    assert set(found) == {"softmax", "svm"}
    assert all(abs(value - 1 / 3) < 3 * deviation for value in found.values()), found


def test_clips_of_one_recording_on_both_sides_would_not(colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the folds keep apart: with a clip of each recording to train on, labels without signal are recognised."""
    assert accuracy(colours / "leaking", "cnn", capsys)["svm"] > 1 / 3 + 3 * np.sqrt(1 / 3 * 2 / 3 / N_RECORDINGS)


# Row 21: posteriors as somebody brings them


@pytest.fixture(scope="module")
def posteriors(twins: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems' posteriors of fold 1: of segments, for the second clips have two of them."""
    base = tmp_path_factory.mktemp("posteriors")
    tables, rng = Store(twins[0] / "logmel").tables, np.random.default_rng(0)
    ids = np.repeat([clip.clip_id for clip in tables.clips], 2)
    of_clip = tables.subset_of(1)
    for system in ("one", "two"):
        columns = {
            "clip_id": ids,
            "start": np.tile([0.0, 0.5], len(tables.clips)),
            "array": rng.dirichlet(np.ones(len(tables.classes)), len(ids)).astype(np.float32),
            "fold": np.ones(len(ids), np.int32),
            "subset": np.array([of_clip[clip_id] for clip_id in ids]),
            "system": np.full(len(ids), system),
        }
        write_posteriors(base / system, tables, columns)
    return base


def write_posteriors(path: Path, tables: Any, columns: Columns) -> None:
    name = str(columns["system"][0])
    more = {"level": "segment", "fold": 1, "systems": [name], "protocol": {name: {"select": "last"}}}
    with locks.writer_lock(path):
        write_rows(path, Recipe("posterior", "test", 1, {"name": path.name}, {}), tables, columns, **more)


def changed(posteriors: Path, out: Path, change: Callable[[Columns], Columns]) -> Path:
    """The first system's store with other rows."""
    store = Store(posteriors / "one")
    names = ("clip_id", "start", "array", "fold", "subset", "system")
    write_posteriors(out, store.tables, change(store.columns(*names)))
    return out


def scores(stores: Sequence[Path], out: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    asctool("fuse", *stores, out, "--rule", "weighted", "--quiet")
    capsys.readouterr()
    asctool("score", out, "--json", "--quiet")
    return json.loads(capsys.readouterr().out)["systems"]


def test_the_order_of_posteriors_decides_nothing(
    posteriors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)

    def shuffled(columns: Columns) -> Columns:
        order = rng.permutation(len(columns["clip_id"]))
        return {name: column[order] for name, column in columns.items()}

    permuted = changed(posteriors, tmp_path / "permuted", shuffled)
    expected = scores([posteriors / "one", posteriors / "two"], tmp_path / "fused", capsys)
    assert scores([permuted, posteriors / "two"], tmp_path / "fused-permuted", capsys) == expected
    assert (tmp_path / "fused" / "fusion.h5").read_bytes() == (tmp_path / "fused-permuted" / "fusion.h5").read_bytes()


def without_one_segment(columns: Columns) -> Columns:
    gone = np.flatnonzero(columns["subset"] == "test")[0]
    return {name: np.delete(column, gone, 0) for name, column in columns.items()}


def without_one_clip(columns: Columns) -> Columns:
    gone = columns["clip_id"] == columns["clip_id"][columns["subset"] == "test"][0]
    return {name: column[~gone] for name, column in columns.items()}


def nan(columns: Columns) -> Columns:
    columns["array"][-1, 0] = np.nan
    return columns


BROKEN: dict[str, tuple[Callable[[Columns], Columns], str]] = {
    "a segment is missing": (without_one_segment, "lacks 1 rows"),
    "a clip is missing": (without_one_clip, "lacks 1 rows"),
    "a row is double": (
        lambda c: {n: np.concatenate([column, column[-1:]]) for n, column in c.items()},
        "is there twice",
    ),
    "not a number": (nan, "are no posteriors"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_rows_that_are_missing_double_or_none_are_refused(
    case: str, posteriors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, words = BROKEN[case]
    broken = changed(posteriors, tmp_path / "broken", change)
    capsys.readouterr()
    level = "segment" if case == "a segment is missing" else "clip"  # a clip goes by the segments that it has
    arguments = ["fuse", broken, posteriors / "two", tmp_path / "out", "--level", level, "--quiet"]
    assert run([str(argument) for argument in arguments]) == 3
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
