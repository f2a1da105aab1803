"""Files that were changed, swapped, cut or made to do harm: refused before use, the file named, at once."""

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_storage_store import RECIPE, columns, tables

from asctool.errors import AsctoolError, DataError, EnvironmentFailure, IntegrityError
from asctool.storage import arrays, atomic, data_directory, locks, manifest
from asctool.storage.data_directory import DataDirectory
from asctool.storage.manifest import Recipe
from asctool.storage.run import Run, RunWriter, check_archive
from asctool.storage.shards import encode_shard
from asctool.storage.store import Store, StoreWriter, write_rows

N_FLIPS = 300
REFUSAL_SECONDS = 2.0


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of five shards and one file more."""
    monkeypatch.setattr("asctool.storage.shards.plan_shards", lambda sizes: [(i, i + 1) for i in range(len(sizes))])
    with locks.writer_lock(tmp_path / "store"):
        write_rows(tmp_path / "store", RECIPE, tables(), columns(), {"svm.h5": arrays.encode({"w": np.ones(3)})})
    return tmp_path / "store"


def read_all(directory: Path) -> None:
    store = Store(directory)
    store.columns("clip_id", "array")
    for name in store.manifest["files"]:
        store.read_file(name)
    assert store.tables.clips


def refused(directory: Path, name: str, error: type[AsctoolError] = IntegrityError) -> None:
    began = time.monotonic()
    with pytest.raises(error, match=re.escape(name)):
        read_all(directory)
    assert time.monotonic() - began < REFUSAL_SECONDS


def test_one_flipped_bit_anywhere_in_a_store_is_refused(store: Path) -> None:
    rng = np.random.default_rng(0)
    files = sorted(path for path in store.iterdir() if path.name != locks.LOCK)
    assert len(files) == 10
    for turn in range(N_FLIPS):
        path = files[turn % len(files)]
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        refused(store, path.name)
        path.write_bytes(whole)
    read_all(store)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_file_cut_short_is_refused(store: Path, keep: int) -> None:
    for path in sorted(store.glob("[a-z]*")):
        whole = path.read_bytes()
        path.write_bytes(whole[: min(keep, len(whole) - 1)])
        refused(store, path.name)
        path.write_bytes(whole)


def test_a_missing_swapped_or_doubled_shard_is_refused(store: Path) -> None:
    first, second, *_ = sorted(store.glob("shard-*"))
    a, b = first.read_bytes(), second.read_bytes()
    second.write_bytes(a)
    refused(store, second.name)
    first.write_bytes(b)
    refused(store, first.name)
    first.unlink()
    refused(store, f"{first.name}: is missing")


def test_what_is_no_regular_file_is_refused_without_waiting(store: Path) -> None:
    shard = min(store.glob("shard-*"))
    shard.unlink()
    os.mkfifo(shard)
    refused(store, f"{shard.name}: is no regular file")
    shard.unlink()
    shard.mkdir()
    refused(store, f"{shard.name}: is no regular file")
    shard.rmdir()
    shard.symlink_to(shard.name)
    refused(store, f"{shard.name}: Too many levels", EnvironmentFailure)


def test_a_killed_store_says_how_far_it_came(store: Path) -> None:
    (store / manifest.NAME).unlink()
    sorted(store.glob("shard-*"))[3].unlink()
    refused(store, "incomplete: 4 of 5 shards; run the stage that writes it again")


def test_a_damaged_shard_of_an_unfinished_store_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locks.writer_lock(tmp_path / "store"):
        writer = StoreWriter(tmp_path / "store", RECIPE, 2)
        writer.shards.write(0, columns())
        (shard,) = (tmp_path / "store").glob("shard-*")
        shard.write_bytes(shard.read_bytes().replace(b"clip 1", b"clip 2"))
        assert writer.shards.missing() == [0, 1]
    assert "is damaged; it is made again" in caplog.text and not shard.exists()


def test_a_forced_rebuild_takes_no_shard_of_before_but_its_own(store: Path) -> None:
    with locks.writer_lock(store):
        forced = StoreWriter(store, RECIPE, 5, force=True)
        assert forced.shards.missing() == [0, 1, 2, 3, 4]
        forced.shards.write(1, {name: column[2:4] for name, column in columns().items()})
    read_all(store)
    assert StoreWriter(store, RECIPE, 5, force=True).shards.missing() == [0, 2, 3, 4]


def test_a_reader_keeps_what_it_reads_while_the_store_is_replaced(store: Path) -> None:
    old, old_svm = Store(store), (store / "svm.h5").read_bytes()
    other = {**columns(), "array": columns()["array"] + 1}
    for name in ("first", "second"):  # the second replaces what nobody reads any more
        with locks.writer_lock(store):
            recipe = Recipe("embedding", name, 1, {}, {})
            write_rows(store, recipe, tables(4), {key: v[:8] for key, v in other.items()}, {"more.h5": b"more"})
        if name == "first":
            np.testing.assert_array_equal(old.columns("array")["array"], columns()["array"])
            assert len(old.tables.clips) == 5 and old.read_file("svm.h5") == old_svm
            del old
        np.testing.assert_array_equal(Store(store).columns("array")["array"], other["array"][:8])
    assert {path.name for path in store.glob(".*")} == {locks.LOCK}
    assert len(list(store.glob("shard-*"))) == 4 and not (store / "svm.h5").exists()


def test_a_reader_that_could_not_hold_a_store_is_told_when_it_was_replaced(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "hold", lambda directory, reader: None)
    old = Store(store)
    with locks.writer_lock(store):
        write_rows(store, Recipe("embedding", "test", 2, {}, {}), tables(4), {k: v[:8] for k, v in columns().items()})
    with pytest.raises(EnvironmentFailure, match="was made anew while it was read; run this again"):
        old.columns("array")


def reseal(directory: Path, change: Callable[[dict], object]) -> None:
    """A manifest that a hostile hand wrote: everything agrees with itself."""
    found = manifest.read(directory)
    change(found)
    manifest.write(directory, found)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "a/b", "manifest.json", ""])
def test_a_manifest_leads_nowhere_else(store: Path, name: str) -> None:
    (store.parent / "outside").write_bytes(b"secret")
    reseal(store, lambda found: found["files"].update({name: atomic.sha256(b"secret")}))
    refused(store, "manifest.json: is damaged")


CRAFTED = {
    "files": "a list",
    "shards": [{"file": "shard-x.h5", "sha256": "0" * 64, "rows": -1}],
    "kind": ["embedding"],
    "config": None,
    "inputs": 3,
    "format": "asctool/9",
}


@pytest.mark.parametrize("entry", CRAFTED)
def test_a_manifest_of_other_types_is_refused(store: Path, entry: str) -> None:
    reseal(store, lambda found: found.update({entry: CRAFTED[entry]}))
    refused(store, "manifest.json: ")


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b'{"a": ' * 100_000, b"\xff\xfe{}", b"<html>"])
def test_what_is_no_manifest_is_refused(store: Path, data: bytes) -> None:
    (store / manifest.NAME).write_bytes(data)
    refused(store, "manifest.json: is damaged")


def test_a_manifest_of_before_they_were_sealed_is_read(store: Path) -> None:
    found = manifest.read(store)
    (store / manifest.NAME).write_text(json.dumps(found, indent=1) + "\n")
    read_all(store)
    found["files"] = found.pop("files")
    (store / manifest.NAME).write_text(json.dumps(found, indent=1) + "\n")
    refused(store, "its hash differs")


def hdf5(make: Callable[[h5py.File], object]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        make(file)
    return buffer.getvalue()


def claimed(file: h5py.File, shape: tuple[int, ...]) -> None:
    """A dataset of a shape whose space was never allocated."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    h5py.h5d.create(file.id, b"array", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), plist)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "array", (3,))
    file.create_virtual_dataset("array", layout)


def doubled(file: h5py.File) -> None:
    file["array"] = np.zeros(1000)
    for i in range(1000):
        file[f"copy {i}"] = file["array"]


HOSTILE: dict[str, Callable[[h5py.File], object]] = {
    "a link to another file": lambda f: f.__setitem__("array", h5py.ExternalLink("/etc/passwd", "/")),
    "a link to itself": lambda f: f.__setitem__("array", h5py.SoftLink("/array")),
    "a group": lambda f: f.create_group("array"),
    "data of another file": lambda f: f.create_dataset("array", (10,), "u1", external=[("/etc/passwd", 0, 10)]),
    "a view of another file": virtual,
    "3.6 TiB": lambda f: claimed(f, (10**6, 10**6)),
    "more bytes than can be counted": lambda f: claimed(f, (2**40, 2**20)),
    "one array a thousand times": doubled,
    "a chunked bomb": lambda f: f.create_dataset("array", (10**9,), "f4", chunks=(10**6,), compression="gzip"),
    "texts of any length": lambda f: f.create_dataset("array", data=["a"], dtype=h5py.string_dtype()),
    "references": lambda f: f.create_dataset("array", data=[f.ref], dtype=h5py.ref_dtype),
    "records": lambda f: f.create_dataset("array", data=np.zeros(2, "f4,i4")),
    "nothing at all": lambda f: f.create_dataset("array", dtype="f4", data=h5py.Empty("f4")),
    "a type": lambda f: f.__setitem__("array", np.dtype("f4")),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_hdf5_is_refused_though_its_hash_is_right(case: str, store: Path) -> None:
    data = hdf5(HOSTILE[case])
    with pytest.raises(IntegrityError, match="no file of plain arrays"):
        arrays.decode(data)
    reseal(store, lambda found: found["shards"][0].update(file="shard-x.h5", sha256=atomic.sha256(data)))
    (store / "shard-x.h5").write_bytes(data)
    refused(store, "its shards do not belong" if case.startswith("one array") else "shard-x.h5: is no file of plain")


def test_hdf5_that_is_none_is_refused() -> None:
    whole = encode_shard(columns())
    for data in (b"", b"no hdf5", whole[:100], whole[: len(whole) // 2]):
        with pytest.raises(IntegrityError, match="no file of plain arrays"):
            arrays.decode(data)


def test_a_data_directory_is_checked_like_a_store(tmp_path: Path) -> None:
    with locks.writer_lock(tmp_path / "data"):
        recipe = Recipe("data", "prep", 1, {}, {})
        data_directory.write(tmp_path / "data", recipe, tables(), {"name": "test"}, {"rejected.csv": b"clip_id\n"})
        data_directory.write(tmp_path / "data", recipe, tables(), {"name": "test"})
    assert not (tmp_path / "data" / "rejected.csv").exists()  # of another time
    assert len(DataDirectory(tmp_path / "data").tables.clips) == 5
    (tmp_path / "data" / "clips.csv").write_bytes(b"clip_id\n")
    with pytest.raises(IntegrityError, match=r"clips\.csv: is not what was written"):
        _ = DataDirectory(tmp_path / "data").tables
    reseal(tmp_path / "data", lambda found: found["files"].update({"clips.csv": atomic.sha256(b"clip_id\n")}))
    with pytest.raises((IntegrityError, DataError)):
        _ = DataDirectory(tmp_path / "data").tables


def test_weights_that_unpack_to_more_than_they_are_are_refused(tmp_path: Path) -> None:
    bomb, twice = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(10**7))
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("a", bytes(1000))
        archive.filelist = archive.filelist * 50  # every entry is the same bytes
    for data in (bomb.getvalue(), twice.getvalue(), b"PK no archive", b""):
        with pytest.raises(IntegrityError, match=r"model\.pt: "):
            check_archive(tmp_path / "model.pt", data)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    from asctool.training import checkpoint

    writer = RunWriter(tmp_path, Recipe("run", "train", 1, {}, {}))
    states = {epoch: checkpoint.encode({"epoch": epoch, "weights": torch.ones(3)}) for epoch in (1, 2, 3)}
    for epoch, data in states.items():
        writer.checkpoint(epoch, data)
    second, third = sorted(tmp_path.glob("checkpoint-*"))
    rng = np.random.default_rng(0)
    for turn in range(100):
        changed = bytearray(states[3])
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
        third.write_bytes(changed if turn else b"")
        caplog.clear()
        assert writer.last_checkpoint() == states[2]
        assert f"{third}: is damaged; going on from the checkpoint before it" in caplog.text
    second.write_bytes(states[2][:-1])
    assert writer.last_checkpoint() is None


def test_a_run_whose_weights_were_changed_is_refused(tmp_path: Path) -> None:
    import torch

    from asctool.training import checkpoint

    model = checkpoint.encode({"weights": {"w": torch.ones(100)}})
    with locks.writer_lock(tmp_path):
        config = {"model": "cnn", "fold": 1, "classes": [], "features": {}}
        recipe = Recipe("run", "train", 1, config, {})
        RunWriter(tmp_path, recipe).finish(model, {"history.csv": b"epoch\n"}, content="", protocol={})
    assert Run(tmp_path).model() == model
    rng = np.random.default_rng(0)
    for _ in range(100):
        changed = bytearray(model)
        changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
        (tmp_path / "model.pt").write_bytes(changed)
        with pytest.raises(IntegrityError, match=r"model\.pt: is not what was written"):
            Run(tmp_path).model()


FORBIDDEN = {
    "pickle": r"\bc?[pP]ickle\b(?!able)",
    "joblib.load": r"joblib\.(load|dump)",
    "weights_only=False": r"weights_only\s*=\s*False",
    "yaml.load": r"yaml\.(unsafe_)?load",
    "eval": r"(?<![\w.])(eval|exec)\(",
    "a shell": r"shell\s*=\s*True|os\.(system|popen)\(",
    "numpy.load of objects": r"allow_pickle\s*=\s*True",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_in_the_package_runs_what_it_reads(what: str) -> None:
    package = Path(manifest.__file__).parents[1]
    found = []
    for path in package.rglob("*.py"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(FORBIDDEN[what], line) and "No pickle" not in line and "no pickle" not in line:
                found.append(f"{path}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_every_reading_of_weights_says_that_they_are_data() -> None:
    package = Path(manifest.__file__).parents[1]
    calls = [m for path in package.rglob("*.py") for m in re.findall(r"torch\.load\(.*", path.read_text())]
    assert calls and all("weights_only=True" in call for call in calls)
