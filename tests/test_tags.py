"""Tags beside rows: written by a network, joined by clip, mixed with their rows, checked wherever they are used."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import asctool

from asctool.cli import run
from asctool.errors import DataError, UsageError
from asctool.models._layers import InputShape
from asctool.models.raw_resnet import Config, Network
from asctool.storage import locks, manifest, tags
from asctool.storage.dataset import Clip, Tables
from asctool.storage.shards import Columns
from asctool.storage.store import Store, write_rows
from asctool.storage.tags import Tags
from asctool.training.examples import Examples, normalization_of
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer

NETWORK = (
    *("--model", "raw_resnet", "--fold", 1, "--epochs", 1, "--batch-size", 4, "--quiet"),
    *("--set", "filters=8", "--set", "blocks=3", "--set", "code=4", "--set", "tag_units=4"),
)


@pytest.fixture(scope="module")
def base(corpus: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Waveforms of the corpus, tags of its clips by a small network, and a run that has them beside its rows."""
    out = tmp_path_factory.mktemp("tags")
    options = ("--type", "waveform", "--set", "sample_rate=4000", "--set", "segment_frames=10000", "--quiet")
    asctool("featurize", corpus / "data", out / "waves", *options, "--jobs", 1)
    asctool("extract", trained, corpus / "logmel", out / "tags", "--kind", "tag", "--quiet")
    asctool("train", out / "waves", out / "run", *NETWORK, "--set", "tags=both", "--tags", out / "tags")
    return out


def changed(source: Path, out: Path, change: Callable[[Columns], Columns], **more: object) -> Path:
    """A tag store like another, with other rows or another manifest."""
    store = Store(source, "tag")
    kept = {name: store.manifest[name] for name in ("labels", "tagger", "level", "systems", "fold", "protocol")}
    columns = change(store.columns("clip_id", "start", "array", "fold", "subset", "system"))
    with locks.writer_lock(out):
        write_rows(out, manifest.recipe_of(store.manifest), store.tables, columns, **{**kept, **more})
    return out


def part(columns: Columns, rows: np.ndarray) -> Columns:
    return {name: values[rows] for name, values in columns.items()}


def others(columns: Columns) -> Columns:
    """The same clips with any other tags."""
    return columns | {"array": np.random.default_rng(0).random(columns["array"].shape, np.float32)}


def code(*words: object) -> int:
    return run([str(word) for word in words])


def test_a_clip_s_tags_are_the_mean_of_its_segments(base: Path, corpus: Path, trained: Path) -> None:
    asctool("extract", trained, corpus / "logmel", base / "posteriors", "--kind", "posterior", "--quiet")
    segments = Store(base / "posteriors").columns("clip_id", "array")
    store = Store(base / "tags", "tag")
    columns = store.columns("clip_id", "array", "subset")
    assert columns["clip_id"].tolist() == [clip.clip_id for clip in store.tables.clips]
    for clip_id, vector in zip(columns["clip_id"], columns["array"]):
        expected = segments["array"][segments["clip_id"] == clip_id].mean(0)
        np.testing.assert_allclose(vector, expected, atol=1e-6)
    of_clip = store.tables.subset_of(1)
    assert [of_clip[clip_id] for clip_id in columns["clip_id"]] == columns["subset"].tolist()
    assert store.manifest["labels"] == list(store.tables.classes)
    assert store.manifest["tagger"] == manifest.read(trained)["content"]


def test_tags_of_clips_that_the_tagger_was_trained_on_are_warned_of(
    base: Path, corpus: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asctool("extract", trained, corpus / "logmel", tmp_path / "all", "--kind", "tag")
    assert "are what" in capsys.readouterr().err
    asctool("extract", trained, corpus / "logmel", tmp_path / "test", "--kind", "tag", "--subset", "test")
    assert "are what" not in capsys.readouterr().err
    columns = Store(tmp_path / "test").columns("clip_id", "array", "subset")
    assert set(columns["subset"]) == {"test"}
    whole = Store(base / "tags").columns("clip_id", "array", "subset")
    np.testing.assert_array_equal(columns["array"], whole["array"][whole["subset"] == "test"])


def test_tags_of_another_corpus_keep_its_classes_and_are_of_no_fold(
    base: Path, corpus: Path, trained: Path, tmp_path: Path
) -> None:
    text = (corpus / "data" / "classes.txt").read_text().split("\n")
    shutil.copytree(corpus / "logmel", tmp_path / "logmel")
    other = Store(corpus / "logmel")
    renamed = {name: f"scene {name}" for name in text if name}
    tables = dataclasses.replace(
        other.tables,
        classes=tuple(renamed.values()),
        clips=tuple(dataclasses.replace(c, labels=(renamed[c.labels[0]],)) for c in other.tables.clips),
    )
    from asctool.storage.dataset import encode_tables

    with locks.writer_lock(tmp_path / "logmel"):
        manifest.commit(tmp_path / "logmel", other.manifest, encode_tables(tables))
    assert code("extract", trained, tmp_path / "logmel", tmp_path / "no", "--kind", "posterior") == 3
    asctool("extract", trained, tmp_path / "logmel", tmp_path / "tags", "--kind", "tag", "--quiet")
    store = Store(tmp_path / "tags")
    assert store.tables.classes == tuple(renamed.values())
    assert store.manifest["labels"] == list(other.tables.classes) and "fold" not in store.manifest
    assert sorted(store.columns("clip_id", "array", "subset")) == ["array", "clip_id"]


def test_the_order_of_tag_rows_changes_nothing(base: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(Store(base / "tags").tables.clips))
    permuted = changed(base / "tags", tmp_path / "permuted", lambda columns: part(columns, order))
    asctool("train", base / "waves", tmp_path / "run", *NETWORK, "--set", "tags=both", "--tags", permuted)
    assert manifest.read(tmp_path / "run")["content"] == manifest.read(base / "run")["content"]
    assert manifest.read(tmp_path / "run")["fingerprint"] == manifest.read(base / "run")["fingerprint"]


def test_tags_in_parts_are_the_tags(base: Path, tmp_path: Path) -> None:
    middle = len(Store(base / "tags").tables.clips) // 2
    parts = [
        changed(base / "tags", tmp_path / str(i), lambda columns, rows=rows: part(columns, rows))
        for i, rows in enumerate((slice(0, middle), slice(middle, None)))
    ]
    words = [word for path in parts for word in ("--tags", path)]
    asctool("train", base / "waves", tmp_path / "run", *NETWORK, "--set", "tags=both", *words)
    assert manifest.read(tmp_path / "run")["content"] == manifest.read(base / "run")["content"]
    with pytest.raises(DataError, match="is tagged twice"):
        tags.load([base / "tags", parts[0]])


def test_other_tags_make_other_weights(base: Path, tmp_path: Path) -> None:
    other = changed(base / "tags", tmp_path / "other", others)
    asctool("train", base / "waves", tmp_path / "run", *NETWORK, "--set", "tags=both", "--tags", other)
    assert manifest.read(tmp_path / "run")["content"] != manifest.read(base / "run")["content"]


def test_codes_come_with_the_tags_and_only_with_them(base: Path, tmp_path: Path) -> None:
    words = ("extract", base / "run", base / "waves", tmp_path / "code", "--kind", "embedding")
    assert code(*words) == 2
    asctool(*words, "--tags", base / "tags", "--quiet")
    plain = Store(tmp_path / "code").columns("array")["array"]
    other = changed(base / "tags", tmp_path / "other", others)
    asctool(*words[:3], tmp_path / "other-code", *words[4:], "--tags", other, "--quiet")
    assert plain.shape == (24, 4)
    assert np.abs(plain - Store(tmp_path / "other-code").columns("array")["array"]).max() > 1e-3


def test_tags_are_followed_to_their_tagger(
    base: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code_words = ("extract", base / "run", base / "waves", tmp_path / "code", "--kind", "embedding")
    asctool(*code_words, "--tags", base / "tags", "--quiet")
    soft_words = ("train", base / "waves", tmp_path / "soft", *NETWORK, "--soft-targets", base / "tags")
    asctool(*soft_words)
    for artifact in (base / "run", tmp_path / "code", tmp_path / "soft"):
        capsys.readouterr()
        asctool("info", artifact, "--json")
        found = json.loads(capsys.readouterr().out)
        behind = {Path(entry["path"]) for entry in found["made_from"]}
        assert {base / "tags", trained, trained.parent / "data"} <= behind and not found["lost"]
    assert code("train", base / "waves", base / "tags", *NETWORK, "--set", "tags=both", "--tags", base / "tags") == 2
    assert "is input and output at once" in capsys.readouterr().err


def bad(base: Path, out: Path) -> dict[str, tuple[int, str, list[object]]]:
    lacking = changed(base / "tags", out / "lacking", lambda columns: part(columns, slice(2, None)))
    labels = changed(base / "tags", out / "labels", lambda columns: columns, labels=list("abcdef"))
    foreign = changed(base / "tags", out / "foreign", lambda columns: columns, tagger="another")
    nan = changed(base / "tags", out / "nan", lambda columns: columns | {"array": columns["array"] * np.nan})
    narrow = changed(base / "tags", out / "narrow", lambda columns: columns | {"array": columns["array"][:, :4]})
    first = Store(base / "tags").tables.clips[0].clip_id
    train = ["train", base / "waves", out / "out", *NETWORK]
    both = [*train, "--set", "tags=both", "--tags"]
    extract = ["extract", base / "run", base / "waves", out / "out", "--kind", "embedding", "--tags"]
    return {
        "clips are lacking": (3, f"has no tags of {first}", [*both, lacking]),
        "clips are lacking, extract": (3, f"has no tags of {first}", [*extract, lacking]),
        "labels differ": (3, "its labels are not those", [*extract, labels]),
        "labels differ between parts": (3, "its labels are not those", [*both, base / "tags", "--tags", labels]),
        "another tagger": (3, "by another tagger", [*extract, foreign]),
        "no tags": (3, "are no tags", [*both, nan]),
        "too narrow": (3, "does not hold 6 values a clip", [*both, narrow]),
        "no tag store": (3, "where 'tag' is needed", [*both, base / "waves"]),
        "tags=none": (2, "takes none unless --set tags=... says how", [*train, "--tags", base / "tags"]),
        "none given": (2, "needs tags: give --tags STORE", [*train, "--set", "tags=attention"]),
        "soft targets": (3, "its labels are not the classes", [*train, "--soft-targets", labels]),
        "a subset": (2, "is for --kind tag", [*extract, base / "tags", "--subset", "test"]),
        "no such subset": (2, "unknown subset 'tset'", [*extract, base / "tags", "--subset", "tset"]),
    }


def test_bad_tags_are_one_line_and_leave_nothing(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case, (expected, words, command) in bad(base, tmp_path).items():
        capsys.readouterr()
        got = code(*command)
        err = capsys.readouterr().err
        assert got == expected and words in err and "Traceback" not in err, (case, err)
        assert not (tmp_path / "out").exists(), case


def test_a_run_without_tags_takes_none(base: Path, corpus: Path, trained: Path, tmp_path: Path) -> None:
    words = ("extract", trained, corpus / "logmel", tmp_path / "out", "--kind", "embedding")
    assert code(*words, "--tags", base / "tags") == 2


def test_a_varied_copy_has_its_source_s_tags() -> None:
    clips = (
        Clip("a", "a.wav", ("x",), "a", 1.0),
        Clip("b", "b.wav", ("x",), "b", 1.0, source_clip_id="a"),  # a clip of its own, cut from the same recording
        Clip("a-1", "a-1.wav", ("x",), "a", 1.0, source_clip_id="a", method="pitch_shift"),
    )
    found = Tags((), ("t",), (), {"a": np.array([0.25], np.float32), "b": np.array([0.5], np.float32)})
    rows = found.rows(Tables(clips, (), ("x",)), ["a-1", "b", "a", "a-1"])
    np.testing.assert_array_equal(rows, [[0.25], [0.5], [0.25], [0.25]])


def test_mixing_mixes_the_tags_of_a_row_with_those_of_its_partner() -> None:
    """Each row is constant and its tag is that constant: whatever is mixed, they stay equal."""
    levels = np.linspace(-1, 1, 12, dtype=np.float32)
    rows = np.broadcast_to(levels[:, None, None], (12, 1, 1000)).copy()
    examples = Examples(rows, np.eye(2, dtype=np.float32)[np.arange(12) % 2], np.arange(12), levels[:, None])
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    network = Network(Config(filters=4, blocks=2, code=2, tags="codecat"), InputShape(1, 0, 1000, 1), 2)
    network.register_forward_pre_hook(lambda module, given: seen.append(given))
    settings = Settings(2, 4, 0.01, mix="mixup", mix_alpha=1.0, mix_from_epoch=2, precision="float32")
    statistics = dataclasses.replace(normalization_of(rows), mean=(0.0,), deviation=(1.0,))
    trainer = Trainer(network, examples, statistics, settings, torch.device("cpu"))
    for epoch in (1, 2):
        seen.clear()
        trainer.run_epoch()
        values = torch.cat([waves[:, 0, 0] for waves, _ in seen])
        torch.testing.assert_close(values, torch.cat([beside[:, 0] for _, beside in seen]))
        n_new = sum(float(np.abs(levels - float(v)).min()) > 1e-6 for v in values)
        assert n_new == 0 if epoch == 1 else n_new >= 10  # a partner may be the row itself


def test_settings_of_mixing_are_checked() -> None:
    with pytest.raises(UsageError, match="epochs are counted from 1"):
        Settings(2, 4, 0.01, mix_from_epoch=0)
