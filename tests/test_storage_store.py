"""Stores: what is written is read back; what was changed, is missing or belongs to another store is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asctool.errors import DataError, IntegrityError, UsageError
from asctool.storage import atomic, dataset, locks, rebuild
from asctool.storage.dataset import Clip, FoldRow, Tables
from asctool.storage.manifest import Recipe
from asctool.storage.shards import encode_shard, plan_shards
from asctool.storage.store import Store, StoreWriter, write_rows

RECIPE = Recipe("embedding", "test", 1, {"size": 3}, {})


def tables(n_clips: int = 5) -> Tables:
    clips = tuple(
        Clip(f"clip {i}", f"{i}.wav", ("dög;x" if i % 2 else "rain",), f"place {i}", 1.5) for i in range(n_clips)
    )
    folds = tuple(FoldRow(1, clip.clip_id, "test" if i == 0 else "train") for i, clip in enumerate(clips))
    return Tables(clips, folds, ("dög;x", "rain"))


def columns(n_clips: int = 5, rows_per_clip: int = 2) -> dict[str, np.ndarray]:
    ids = np.repeat([f"clip {i}" for i in range(n_clips)], rows_per_clip)
    rng = np.random.default_rng(0)
    return {
        "clip_id": ids,
        "start": np.arange(len(ids)) * 0.5,
        "array": rng.normal(size=(len(ids), 3)).astype(np.float32),
    }


def written(path: Path) -> Path:
    with locks.writer_lock(path):
        write_rows(path, RECIPE, tables(), columns())
    return path


def test_rows_and_tables_come_back(tmp_path: Path) -> None:
    store = Store(written(tmp_path / "store"))
    back = store.columns("clip_id", "start", "array")
    for name, values in columns().items():
        np.testing.assert_array_equal(back[name], values)
    assert store.tables == tables()


def test_the_same_rows_have_the_same_content_however_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store(written(tmp_path / "whole"))
    monkeypatch.setattr("asctool.storage.shards.plan_shards", lambda sizes: [(i, i + 1) for i in range(len(sizes))])
    cut = Store(written(tmp_path / "cut"))
    assert (len(whole.manifest["shards"]), len(cut.manifest["shards"])) == (1, 5)
    assert whole.content == cut.content


def test_shards_are_cut_between_clips_and_hold_no_more_than_their_limit() -> None:
    assert plan_shards([4, 4, 4, 9, 1], 8) == [(0, 2), (2, 3), (3, 4), (4, 5)]
    assert plan_shards([], 8) == []


def test_a_ragged_store_gives_each_clip_its_own_samples(tmp_path: Path) -> None:
    path = tmp_path / "waves"
    lengths = np.array([3, 5])
    shard = {
        "clip_id": np.array(["clip 0", "clip 1"]),
        "start": np.zeros(2),
        "array": np.arange(16, dtype=np.float32).reshape(8, 2),
        "offset": np.array([0, 3]),
        "length": lengths,
    }
    with locks.writer_lock(path):
        writer = StoreWriter(path, Recipe("waveform", "test", 1, {}), 1)
        writer.shards.write(0, shard)
        writer.finish(tables(2))
    np.testing.assert_array_equal(Store(path).clip("clip 1"), shard["array"][3:])
    with pytest.raises(DataError, match="holds no clip 'clip 7'"):
        Store(path).clip("clip 7")


@pytest.mark.parametrize("position", [0, 200, -1])
def test_one_flipped_bit_is_refused(tmp_path: Path, position: int) -> None:
    store = written(tmp_path / "store")
    shard = next(store.glob("shard-*"))
    data = bytearray(shard.read_bytes())
    data[position] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"shard-00000-of-00001.*hash differs"):
        Store(store).columns("array")


def test_a_missing_shard_and_a_missing_manifest_are_named(tmp_path: Path) -> None:
    store = written(tmp_path / "store")
    (store / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match="incomplete: 1 of 1 shards"):
        Store(store)
    again = written(tmp_path / "again")
    next(again.glob("shard-*")).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        Store(again).columns("array")


def test_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="kind 'embedding', where 'feature' is needed"):
        Store(written(tmp_path / "store"), "feature")


def test_equal_shards_are_equal_bytes() -> None:
    assert encode_shard(columns()) == encode_shard(columns())


def test_a_row_of_hdf5_is_contiguous_and_text_is_utf8(tmp_path: Path) -> None:
    store = written(tmp_path / "store")
    with h5py.File(next(store.glob("shard-*"))) as file:
        assert file["array"].chunks is None
        assert file["clip_id"][1].decode() == "clip 0"


def test_an_interrupted_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_bytes(tmp_path / "file", b"data")
    assert list(tmp_path.iterdir()) == []


def test_the_second_writer_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    from asctool.errors import EnvironmentFailure

    with (
        locks.writer_lock(tmp_path / "store"),
        pytest.raises(EnvironmentFailure, match=r"process \d+ on .* is writing it"),
        locks.writer_lock(tmp_path / "store"),
    ):
        pass


def test_temporary_files_of_dead_processes_are_swept_and_others_kept(tmp_path: Path) -> None:
    import os
    import socket

    dead, alive, foreign = (
        tmp_path / f"{atomic.TEMPORARY}{host}-{pid}-00ff"
        for host, pid in ((socket.gethostname(), 2**22 + 1), (socket.gethostname(), os.getpid()), ("else-where", 1))
    )
    for path in (dead, alive, foreign):
        path.write_bytes(b"")
    atomic.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, foreign.name}


def test_settled_shows_what_differs(tmp_path: Path) -> None:
    store = written(tmp_path / "store")
    assert rebuild.settled(store, RECIPE, force=False)
    other = Recipe("embedding", "test", 1, {"size": 4}, {})
    with pytest.raises(UsageError, match="size: 3 -> 4"):
        rebuild.settled(store, other, force=False)
    assert not rebuild.settled(store, other, force=True)


def test_nested_settings_that_differ_are_told_one_by_one(tmp_path: Path) -> None:
    first, second = (
        Recipe("run", "train", 1, {"training": {"epochs": 3, "batch_size": size}, "model": "cnn"}) for size in (16, 32)
    )
    (tmp_path / "run").mkdir()
    write_rows(tmp_path / "run", first, tables(), columns())
    with pytest.raises(UsageError, match=r"options \(training.batch_size: 16 -> 32\)"):
        rebuild.settled(tmp_path / "run", second, force=False)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_artifact_or_of_another_stage_is_never_replaced(force: bool, tmp_path: Path) -> None:
    """Where an output is forgotten, the last input stands in its place."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "clips.csv").write_text("a table of somebody's")
    with pytest.raises(UsageError, match="holds other files; give a new directory"):
        rebuild.settled(tmp_path / "own", RECIPE, force)
    store = written(tmp_path / "store")
    with pytest.raises(UsageError, match="was written by test, and fuse does not replace it; the output comes last"):
        rebuild.settled(store, Recipe("posterior", "fuse", 1, {}), force)


def test_a_damaged_artifact_is_made_anew_if_forced(tmp_path: Path) -> None:
    store = written(tmp_path / "store")
    (store / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="is damaged"):
        rebuild.settled(store, RECIPE, force=False)
    assert not rebuild.settled(store, RECIPE, force=True)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1), max_size=4).map(tuple))
def test_labels_come_back_whatever_they_hold(labels: tuple[str, ...]) -> None:
    assert dataset.split_labels(dataset.join_labels(labels)) == labels


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), min_size=1))
def test_tables_come_back_whatever_a_clip_is_called(name: str) -> None:
    clips = (Clip(name, f"{name}.wav", (name,), name, 1.25, extra={"city": name}),)
    table = Tables(clips, (FoldRow(1, name, "train"),), (name,))
    assert dataset.decode_tables(dataset.encode_tables(table)) == table


def test_a_copy_trains_where_its_source_trains_and_nowhere_else() -> None:
    base = tables(3)
    base = Tables(base.clips, (*base.folds, FoldRow(2, "clip 0", "train"), FoldRow(2, "clip 1", "test")), base.classes)
    copy = Clip("clip 0 fast", "x.wav", ("rain",), "place 0", 1.0, source_clip_id="clip 0", method="time_stretch")
    with_copy = base.with_copies([copy])
    assert [row for row in with_copy.folds if row.clip_id == "clip 0 fast"] == [FoldRow(2, "clip 0 fast", "train")]
