"""Rows that stay on disk: the same as in memory, read only when asked for, trained on to the same weights."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import SMALL, asctool

from asctool import models
from asctool.cli import run
from asctool.errors import DataError, EnvironmentFailure, IntegrityError, UsageError
from asctool.models._layers import InputShape
from asctool.storage import manifest, rows, streaming
from asctool.storage.store import Store
from asctool.storage.streaming import StreamedRows
from asctool.training import batches, checkpoint, inference
from asctool.training.examples import Examples, normalization_of
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer

CPU = torch.device("cpu")
RATE = 8000
NETWORK = ("--model", "raw_resnet", "--fold", 1, "--set", "filters=8", "--set", "blocks=3", "--set", "code=4")
TRAINING = ("--epochs", 2, "--batch-size", 4, "--set", "mix_from_epoch=2", "--set", "learning_rate=0.01")


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A waveform store in int16 of 16 stereo clips of 16 bits, in several shards, and what it was made from."""
    base = tmp_path_factory.mktemp("waves")
    rng = np.random.default_rng(0)
    for label in ("hum", "hiss"):
        (base / "audio" / label).mkdir(parents=True)
        for i in range(8):
            noise = rng.normal(0, 0.1, (RATE // 2, 2))
            clip = np.cumsum(noise, 0) / 10 if label == "hum" else noise
            soundfile.write(base / "audio" / label / f"{label} {i}.wav", clip, RATE, subtype="PCM_16")
    asctool("prep", "folder", base / "audio", base / "data", "--set", "n_folds=2", "--jobs", 1, "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "asctool.stages.featurize.plan_shards", lambda sizes: [(i, i + 3) for i in range(0, len(sizes), 3)]
        )
        asctool(
            *("featurize", base / "data", base / "waves", "--type", "waveform", "--set", f"sample_rate={RATE}"),
            *("--set", "dtype=int16", "--set", "channels=own", "--jobs", 1, "--quiet"),
        )
    return base


def both(directory: Path, kind: str) -> tuple[np.ndarray, StreamedRows]:
    store = Store(directory, kind)
    memory, disk = (rows.load(store, 1, stream).features for stream in ("no", "yes"))
    assert isinstance(memory, np.ndarray) and isinstance(disk, StreamedRows)
    return memory, disk


def test_a_recording_of_16_bits_is_stored_exactly(waves: Path) -> None:
    memory, _ = both(waves / "waves", "waveform")
    store = Store(waves / "waves")
    for row, clip in zip(memory, store.tables.clips):
        samples, _ = soundfile.read(clip.path, dtype="int16")
        np.testing.assert_array_equal(row.T, samples)


@pytest.mark.parametrize("kind", ["waveform", "feature"])
def test_rows_on_disk_are_those_in_memory(kind: str, waves: Path, corpus: Path) -> None:
    memory, disk = both(waves / "waves" if kind == "waveform" else corpus / "logmel", kind)
    assert (disk.shape, disk.dtype, disk.ndim, len(disk)) == (memory.shape, memory.dtype, memory.ndim, len(memory))
    order = np.random.default_rng(0).permutation(len(memory))
    for key in (order, slice(2, 7), slice(len(memory) - 1, len(memory) + 5), np.array([3, 3, 0]), 4, slice(0, 0)):
        np.testing.assert_array_equal(disk[key], memory[key])
    part = disk.subset(order[:6])
    np.testing.assert_array_equal(part[1:4], memory[order[1:4]])
    assert len(part.subset(np.array([5]))) == 1
    assert normalization_of(disk) == normalization_of(memory)


def test_only_the_rows_that_are_asked_for_are_read(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, disk = both(waves / "waves", "waveform")
    n_bytes, plain = [], os.preadv
    monkeypatch.setattr("os.preadv", lambda *given: n_bytes.append(plain(*given)) or n_bytes[-1])
    part = disk.subset(np.arange(10))
    part.shape, len(part)
    assert n_bytes == []
    part[np.array([7, 2])]
    assert n_bytes == [RATE // 2 * 2 * 2] * 2


def test_a_store_made_anew_meanwhile_is_told(waves: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(waves / "waves", tmp_path / "waves")
    _, disk = both(tmp_path / "waves", "waveform")
    first = sorted((tmp_path / "waves").glob("shard-*"))[0]
    first.write_bytes(first.read_bytes()[:3000])
    with pytest.raises(IntegrityError, match="has become shorter"):
        disk[0]
    first.unlink()
    with pytest.raises(EnvironmentFailure, match="was made anew while it was read"):
        disk[0]


def test_a_damaged_shard_is_refused_before_a_row_is_read(waves: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(waves / "waves", tmp_path / "waves")
    shard = sorted((tmp_path / "waves").glob("shard-*"))[2]
    data = bytearray(shard.read_bytes())
    data[-50] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match="not what was written"):
        streaming.open_rows(Store(tmp_path / "waves"), ("clip_id",))


@pytest.mark.parametrize("stream", ["yes", "no"])
def test_waveforms_of_unequal_lengths_name_the_remedy(stream: str, waves: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / "mine" / label).mkdir(parents=True)
        for i in range(3):
            soundfile.write(tmp_path / "mine" / label / f"{i}.wav", rng.normal(0, 0.1, 4000 + 1000 * i), RATE)
    asctool("prep", "folder", tmp_path / "mine", tmp_path / "data", "--set", "n_folds=2", "--jobs", 1, "--quiet")
    options = ("--type", "waveform", "--set", f"sample_rate={RATE}", "--jobs", 1, "--quiet")
    asctool("featurize", tmp_path / "data", tmp_path / "waves", *options)
    with pytest.raises(DataError, match=r"4000 to 6000 samples.*segment_frames=6000"):
        rows.load(Store(tmp_path / "waves"), 1, stream)
    asctool("featurize", tmp_path / "data", tmp_path / "equal", *options, "--set", "segment_frames=6000")
    assert rows.load(Store(tmp_path / "equal"), 1, stream).features.shape == (6, 1, 6000)


def test_large_stores_stay_on_disk_by_themselves(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(waves / "waves")
    assert streaming.n_bytes(store) > 16 * RATE // 2 * 2 * 2
    assert not rows.stays_on_disk(store, "auto")
    monkeypatch.setattr(rows, "RESIDENT_BYTES", 16 * RATE // 2 * 2 * 2)
    assert rows.stays_on_disk(store, "auto") and not rows.stays_on_disk(store, "no")
    with pytest.raises(UsageError, match="--stream maybe"):
        rows.stays_on_disk(store, "maybe")


def test_training_from_disk_ends_with_the_same_weights(waves: Path, tmp_path: Path) -> None:
    """Not nearly the same: the same rows come in the same order, mixed with the same partners."""
    for stream in ("yes", "no"):
        out = tmp_path / stream
        asctool("train", waves / "waves", out, *NETWORK, *TRAINING, "--stream", stream, "--monitor", "test")
        asctool("extract", out, waves / "waves", tmp_path / f"code-{stream}", "--kind", "embedding", "--stream", stream)
    assert manifest.read(tmp_path / "yes")["content"] == manifest.read(tmp_path / "no")["content"]
    assert Store(tmp_path / "code-yes").content == Store(tmp_path / "code-no").content
    assert Store(tmp_path / "code-yes").columns("array")["array"].shape == (16, 4)
    assert run([str(word) for word in ("train", waves / "waves", tmp_path / "yes", *NETWORK, *TRAINING)]) == 0


def trainer(examples: Examples) -> Trainer:
    torch.manual_seed(0)
    network = models.build("raw_resnet", {"filters": 8, "blocks": 3, "code": 4}, InputShape(2, 0, RATE // 2), 2)
    settings = Settings(epochs=4, batch_size=4, learning_rate=0.01, mix="mixup", mix_from_epoch=2, precision="float32")
    return Trainer(network, examples, normalization_of(examples.features), settings, CPU)


def test_going_on_from_a_checkpoint_is_the_same_to_the_bit(waves: Path) -> None:
    data = rows.load(Store(waves / "waves"), 1, "yes")
    train = data.select("train")
    examples = Examples(rows.take(data.features, train), data.targets[train], data.clip_index(train))
    whole, first, second = (trainer(examples) for _ in range(3))
    for _ in range(4):
        whole.run_epoch()
    for _ in range(2):
        first.run_epoch()
    second.restore(checkpoint.decode(checkpoint.encode(first.state()), CPU))
    for _ in range(2):
        second.run_epoch()
    assert checkpoint.weights_hash(second.network) == checkpoint.weights_hash(whole.network)


def test_spectra_stream_as_well(corpus: Path, tmp_path: Path) -> None:
    for stream in ("yes", "no"):
        options = ("--model", "cnn", "--fold", 1, "--epochs", 1, *SMALL[:2], "--mix", "between_class")
        asctool("train", corpus / "logmel", tmp_path / stream, *options, "--stream", stream)
    assert manifest.read(tmp_path / "yes")["content"] == manifest.read(tmp_path / "no")["content"]


def test_a_thread_works_a_few_items_ahead_and_hands_its_errors_on() -> None:
    done: list[int] = []

    def work(item: int) -> int:
        done.append(item)
        if item == 6:
            raise OSError("a disk is gone")
        return item * item

    results = batches.ahead(work, range(100), depth=3)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert len(done) <= 2 + 1 + 3 + 1
    with pytest.raises(OSError, match="a disk is gone"):
        list(results)
    assert len(done) <= 10  # what was waiting is not done any more


def test_long_rows_are_computed_few_at_a_time(waves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, disk = both(waves / "waves", "waveform")
    monkeypatch.setattr("asctool.training.examples.BLOCK_VALUES", 3 * RATE)
    sizes = []
    network = models.build("raw_resnet", {"filters": 8, "blocks": 3, "code": 4}, InputShape(2, 0, RATE // 2), 2)
    network.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    inference.compute(network, disk, normalization_of(disk), "posterior", CPU)
    assert sizes == [3, 3, 3, 3, 3, 1]


def test_int16_is_for_waveforms(waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("featurize", waves / "data", tmp_path / "out", "--type", "logmel", "--set", "sample_rate=8000")
    assert run([str(word) for word in (*words, "--set", "dtype=int16")]) == 2
    assert "dtype=int16 is for waveforms" in capsys.readouterr().err


def test_a_waveform_store_of_another_rate_is_refused(
    waves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asctool("train", waves / "waves", tmp_path / "run", *NETWORK, *TRAINING, "--quiet")
    options = ("--type", "waveform", "--set", "sample_rate=4000", "--set", "dtype=int16", "--set", "channels=own")
    asctool("featurize", waves / "data", tmp_path / "other", *options, "--jobs", 1, "--quiet")
    capsys.readouterr()
    words = ("extract", tmp_path / "run", tmp_path / "other", tmp_path / "out", "--kind", "embedding")
    assert run([str(word) for word in words]) == 3
    assert "sample_rate: 8000 -> 4000" in capsys.readouterr().err
    assert run([str(word) for word in ("train", waves / "waves", tmp_path / "out", "--model", "cnn", "--fold", 1)]) == 3
    assert "kind 'waveform', where 'feature' is needed" in capsys.readouterr().err


def test_a_clip_in_int16_is_drawn_at_its_level(waves: Path) -> None:
    from asctool.stages import info

    store = Store(waves / "waves")
    clip = store.tables.clips[0]
    axes = info.figure_of(waves / "waves", clip.clip_id).axes
    samples, _ = soundfile.read(clip.path)
    limits = axes[0].dataLim
    assert (limits.ymin, limits.ymax) == pytest.approx((samples[:, 0].min(), samples[:, 0].max()), abs=1e-4)
