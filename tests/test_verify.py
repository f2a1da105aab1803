"""verify: what stands in a sealed manifest and is wrong all the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import asctool

from asctool.cli import run
from asctool.storage import arrays, atomic, manifest


def reseal(directory: Path, **changes: Any) -> None:
    """Write the manifest again with other entries, sealed: what a bug or a skilled hand would leave."""
    found = manifest.read(directory) | changes
    found.pop("sha256", None)
    manifest.write(directory, found)


def refused(capsys: pytest.CaptureFixture[str], artifact: Path, code: int = 5) -> str:
    capsys.readouterr()
    assert run(["verify", str(artifact)]) == code
    return capsys.readouterr().err


def change_shard(store: Path, name: str) -> None:
    """Another value in the first row of a column, under a right hash of the file."""
    (entry,) = manifest.read(store)["shards"]
    columns = arrays.decode((store / entry["file"]).read_bytes())
    columns[name] = columns[name].copy()
    columns[name][0] = columns[name][0] + 1 if columns[name].dtype.kind == "f" else columns[name][1]
    data = arrays.encode(columns)
    (store / entry["file"]).write_bytes(data)
    reseal(store, shards=[entry | {"sha256": atomic.sha256(data)}])


@pytest.fixture
def store(corpus: Path, trained: Path, tmp_path: Path) -> Path:
    asctool("extract", trained, corpus / "logmel", tmp_path / "posteriors", "--kind", "posterior", "--quiet")
    return tmp_path / "posteriors"


def test_all_artifacts_are_gone_through(store: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_shard(store, "array")
    capsys.readouterr()
    assert run(["verify", str(store), str(store / "nowhere"), str(trained)]) == 5
    said = capsys.readouterr()
    assert "rows that are not what their hashes say" in said.err and "nowhere: there is no such" in said.err
    assert "2 of 3 artifacts are not whole" in said.err and f"{trained}: whole" in said.out


def test_rows_are_hashed_again(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asctool("verify", store)
    change_shard(store, "array")
    assert "rows that are not what their hashes say" in refused(capsys, store)


def test_columns_beside_the_array_count_too(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_shard(store, "start")
    assert "rows that are not what their hashes say" in refused(capsys, store)


def test_rows_are_those_that_the_manifest_promises(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reseal(store, content="0" * 64)
    assert "its rows are not those that its manifest promises" in refused(capsys, store)


def test_mixed_rows_pass(corpus: Path, tmp_path: Path) -> None:
    """They have more columns of text and of targets."""
    asctool("augment", corpus / "logmel", tmp_path / "mixed", "--method", "mixup", "--fold", 1, "--quiet")
    asctool("verify", tmp_path / "mixed", corpus / "denoised")


def test_weights_are_those_that_the_manifest_promises(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run")
    asctool("verify", tmp_path / "run")
    reseal(tmp_path / "run", content="0" * 64)
    assert "of two trainings" in refused(capsys, tmp_path / "run")


def test_every_file_of_a_data_directory_counts(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(corpus / "data", tmp_path / "data")
    (tmp_path / "data" / "rejected.csv").write_text("clip_id,path,reason\n")
    files = json.loads((tmp_path / "data" / "manifest.json").read_text())["files"]
    reseal(tmp_path / "data", files=files | {"rejected.csv": "0" * 64})
    assert "rejected.csv" in refused(capsys, tmp_path / "data")


def test_a_bundle_is_whole_or_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asctool("bundle", trained, tmp_path / "model.asc", "--quiet")
    asctool("verify", tmp_path / "model.asc")
    assert "whole: bundle of 1 networks" in capsys.readouterr().out
    data = bytearray((tmp_path / "model.asc").read_bytes())
    data[-100] ^= 1
    (tmp_path / "model.asc").write_bytes(data)
    assert "model.asc" in refused(capsys, tmp_path / "model.asc")
