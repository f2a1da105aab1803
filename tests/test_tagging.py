"""The tagger: its network, what varies its rows, labels each by itself, two kinds of labels, soft targets."""

import csv
import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import asctool
from sklearn.metrics import label_ranking_average_precision_score

from asctool import models
from asctool.cli import run
from asctool.errors import UsageError
from asctool.features import logmel
from asctool.models._layers import InputShape
from asctool.models.tag_resnet import Network
from asctool.storage import manifest, rows, settings
from asctool.storage.store import Store
from asctool.training import epochs, inference, optimizers, summary, variation
from asctool.training.examples import Normalization
from asctool.training.given import gather
from asctool.training.settings import Settings, learning_rate

RATE = 8000
SOUNDS = {"low": 200.0, "high": 2500.0, "noise": 0.0}
SMALL = (
    *("--model", "tag_resnet", "--fold", 1, "--set", "width=4", "--set", "hidden=8", "--quiet"),
    *("--set", "crop_frames=[32, 48]", "--batch-size", 8, "--epochs", 2, "--set", "widest_band_mask=4"),
)


def some(**changes: object) -> Settings:
    return Settings(**{"epochs": 4, "batch_size": 8, "learning_rate": 0.01, **changes})  # type: ignore[arg-type]


def small_network() -> Network:
    torch.manual_seed(0)
    network = models.build("tag_resnet", {"width": 4, "hidden": 8}, InputShape(1, 32, 40), 3)
    assert isinstance(network, Network)
    return network.eval()


def test_it_is_resnet_34_with_one_channel_and_two_heads() -> None:
    """torchvision's resnet34 has 21 284 672 numbers before its output, 9408 of them in a first layer of 3 channels."""
    with torch.device("meta"):
        network = models.build("tag_resnet", {}, InputShape(1, 128, 512), 80)
        assert network.convolutions(torch.zeros(1, 1, 128, 512)).shape == (1, 512, 4, 16)
    head = (512 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 80
    body = 21_284_672 - 9408 + 9408 // 3
    assert summary.n_parameters(network) == body + 2 * head == 24_592_224


def test_each_row_is_judged_by_its_own_head() -> None:
    network, images = small_network(), torch.randn(4, 1, 32, 40)
    embedding = network.embed(images)
    first, second = (head(embedding) for head in network.heads)
    torch.testing.assert_close(network(images), first)
    got = network(images, torch.tensor([0, 1, 1, 0]))
    torch.testing.assert_close(got, torch.stack([first[0], second[1], second[2], first[3]]))


def test_the_preset_is_the_default_training() -> None:
    from asctool.stages.train import configure

    assert configure("tag_resnet", settings.read_section("akiyama2019", "train")) == configure("tag_resnet", {})
    training = configure("tag_resnet", {}).training
    assert [learning_rate(training, epoch) for epoch in (0, 32, 64, 448)] == pytest.approx([1e-3, 5.005e-4, 1e-3, 1e-3])
    assert learning_rate(training, 511) == pytest.approx(1e-6, abs=1e-6)


def test_too_small_images_are_told() -> None:
    with pytest.raises(UsageError, match="31 bands x 40 frames are too few"):
        models.build("tag_resnet", {}, InputShape(1, 31, 40), 3)


def test_binary_cross_entropy_is_that_of_each_label() -> None:
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.rand(5, 3)
    p = 1 / (1 + np.exp(-logits.numpy()))
    expected = -(targets.numpy() * np.log(p) + (1 - targets.numpy()) * np.log(1 - p)).mean(1)
    np.testing.assert_allclose(optimizers.binary_cross_entropy(logits, targets).numpy(), expected, rtol=1e-5)


def test_a_hit_is_any_of_a_row_s_labels() -> None:
    logits = torch.tensor([[3.0, 1, 0], [0, 2, 1], [0, 1, 2], [1, 0, 0]])
    targets = torch.tensor([[1.0, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 0]])
    assert optimizers.hits(logits, targets, "bce").tolist() == [True, False, True, False]
    assert optimizers.hits(logits, targets, "kl").tolist() == [True, False, False, True]


def test_crops_lie_where_something_is_heard() -> None:
    """Frames are numbered from 1; the second half of some rows is padding, all of one row is still."""
    torch.manual_seed(0)
    row = torch.arange(1.0, 101)
    padded = torch.where(row <= 50, row, torch.tensor(-23.0))
    images = torch.stack([row, padded, torch.full((100,), 7.0)])[:, None, None].expand(3, 1, 4, 100)
    assert variation.filled_frames(images).tolist() == [100, 51, 100]
    firsts = []
    for _ in range(1500):
        crops = variation.crop(images, 30)
        assert crops.shape == (3, 1, 4, 30)
        assert (crops[:2, ..., 1:-1].diff(dim=-1) == 1).all()  # neighbours stay neighbours
        firsts.append(crops[:, 0, 0, 0])
    first = torch.stack(firsts)
    assert first[:, 0].min() == 1 and first[:, 0].max() == 71
    assert first[:, 1].min() == 1 and first[:, 1].max() == 22
    lengths = {variation.crop_length((32, 40), 100) for _ in range(300)}
    assert lengths == set(range(32, 41)) and variation.crop_length((32, 40), 20) == 20


def test_a_mask_is_one_band_of_zeros_in_each_row() -> None:
    torch.manual_seed(0)
    masked = torch.cat([variation.mask_bands(torch.ones(50, 2, 16, 5), 6) for _ in range(20)]) == 0
    of_bands = masked[:, 0, :, 0]
    assert torch.equal(masked, of_bands[:, None, :, None].expand_as(masked))
    widths = of_bands.sum(1)
    assert set(widths.tolist()) == set(range(7))
    assert (of_bands.int().diff(dim=1) == 1).sum(1).max() == 1  # one run of bands
    assert bool(of_bands[:, 0].any()) and bool(of_bands[:, -1].any())


def test_gain_is_what_a_louder_recording_looks_like() -> None:
    torch.manual_seed(0)
    samples = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    config = logmel.Config(n_bands=16)
    plain = torch.from_numpy(logmel.extract(samples, RATE, config))[None, None]
    moved = variation.gain(plain.expand(40, -1, -1, -1), 6.0)
    steps = (moved - plain).mean((1, 2, 3))
    decibels = steps / (log(10) / 10)
    assert float(decibels.abs().max()) <= 6 and float(decibels.max()) > 4 and float(decibels.min()) < -4
    louder = logmel.extract(samples * 10 ** (float(decibels[0]) / 20), RATE, config)
    np.testing.assert_allclose(moved[0, 0].numpy(), louder, atol=1e-3)


def test_at_test_a_row_is_the_mean_of_its_slices_that_are_heard() -> None:
    network = small_network()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 1, 32, 80)).astype(np.float32)
    images[1, ..., 40:] = -23  # padding
    images[2] = -23
    still = Normalization((0.0,), (1.0,))
    got = inference.compute(network, images, still, "tag", torch.device("cpu"), slice_frames=40)
    first, second = (
        inference.compute(network, np.ascontiguousarray(part), still, "tag", torch.device("cpu"))
        for part in (images[..., :40], images[..., 40:])
    )
    np.testing.assert_allclose(got[0], (first[0] + second[0]) / 2, rtol=1e-5)
    np.testing.assert_allclose(got[1], first[1], rtol=1e-5)
    np.testing.assert_allclose(got[2], first[2], rtol=1e-5)


def test_an_epoch_has_as_many_noisy_rows_as_curated_ones_in_turn() -> None:
    heads = np.repeat([0, 1], [10, 25])
    plan = epochs.draw(some(mix="mixup"), 3, np.zeros(35, int), heads)
    assert len(plan.rows) == 20 and sorted(plan.rows[::2]) == list(range(10))
    assert len(set(plan.rows[1::2])) == 10 and plan.rows[1::2].min() >= 10
    assert plan.partners is not None and np.array_equal(heads[plan.partners], heads[plan.rows])
    drawn = {row for epoch in range(30) for row in epochs.draw(some(), epoch, np.zeros(35, int), heads).rows.tolist()}
    assert drawn == set(range(35))
    assert len(epochs.draw(some(rows_per_epoch=61), 0, np.zeros(35, int), heads).rows) == 61


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of one or two of three sounds, a third of them with labels of doubtful origin, and their log-mels."""
    base = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    lines = [["filename", "labels", "split", "curated"]]
    names = list(SOUNDS)
    for i in range(24):
        labels = [names[i % 3]] if i % 2 else [names[i % 3], names[(i + 1) % 3]]
        t = np.arange(int(RATE * (0.9 if i % 4 else 0.5))) / RATE
        parts = [rng.normal(size=len(t)) if not SOUNDS[n] else np.sin(2 * np.pi * SOUNDS[n] * t) for n in labels]
        soundfile.write(base / f"{i}.wav", 0.1 * np.sum(parts, 0) + 0.001 * rng.normal(size=len(t)), RATE)
        subset = ("train", "train", "train", "train", "valid", "test")[i % 6 if i % 3 else 0]
        lines.append([f"{i}.wav", ";".join(labels), subset, str(i % 3 != 0)])
    with (base / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    asctool("prep", "table", base / "table.csv", base / "data", "--jobs", 1, "--quiet")
    options = ("n_bands=32", "sample_rate=8000", "segment_frames=60", "frame_seconds=0.032", "hop_seconds=0.015")
    given = [word for option in options for word in ("--set", option)]
    asctool("featurize", base / "data", base / "logmel", "--type", "logmel", *given, "--jobs", 1, "--quiet")
    asctool("train", base / "logmel", base / "run", *SMALL, "--select", "valid")
    asctool("extract", base / "run", base / "logmel", base / "tags", "--kind", "tag", "--quiet")
    return base


def test_curated_and_noisy_rows_go_to_their_own_heads(sounds: Path) -> None:
    store = Store(sounds / "logmel")
    given = gather(store, rows.load(store, 1), "tag_resnet", None, "bce", None, None)
    curated = [store.tables.by_id[clip_id].extra["curated"] for clip_id in given.rows.clip_ids]
    assert given.beside is not None and given.beside.tolist() == [int(value != "True") for value in curated]
    assert set(np.unique(given.rows.targets)) == {0, 1} and set(given.rows.targets.sum(1)) == {1, 2}
    assert gather(store, rows.load(store, 1), "cnn", None, "bce", None, None).beside is None


@pytest.mark.parametrize("loss", ["kl", "bce"])
def test_labels_that_share_one_are_warned_of(loss: str, sounds: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(sounds / "logmel")
    gather(store, rows.load(store, 1), "cnn", None, loss, None, None)
    assert ("loss=bce scores each by itself" in caplog.text) == (loss == "kl")


def test_the_history_has_lwlrap_and_it_chose_the_epoch(sounds: Path) -> None:
    with (sounds / "run" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    values = [float(row["valid_clip_lwlrap"]) for row in history]
    assert len(values) == 2 and all(0 < value <= 1 for value in values)
    protocol = manifest.read(sounds / "run")["protocol"]
    assert protocol["select"] == "valid" and protocol["epoch"] == 1 + int(np.argmax(values))


def test_lwlrap_of_tags_is_scikit_learn_s(sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    asctool("score", sounds / "tags", "--json")
    (system,) = json.loads(capsys.readouterr().out)["systems"]
    store = Store(sounds / "tags")
    columns = store.columns("clip_id", "array", "subset")
    test = columns["subset"] == "test"
    truth = store.tables.targets(columns["clip_id"][test]) > 0
    expected = label_ranking_average_precision_score(truth, columns["array"][test], sample_weight=truth.sum(1))
    assert system["folds"]["1"]["lwlrap"] == pytest.approx(expected)


def test_labels_by_themselves_are_no_posteriors(sounds: Path, tmp_path: Path) -> None:
    words = ("extract", sounds / "run", sounds / "logmel", tmp_path / "out", "--kind", "posterior")
    assert run([str(word) for word in words]) == 2
    assert not (tmp_path / "out").exists()


def test_soft_targets_take_the_place_of_labels_where_there_are_any(sounds: Path, tmp_path: Path) -> None:
    """Of the noisy clips alone: a second network learns from their tags, and from the labels of the others."""
    from asctool.storage import tags

    soft = tags.load([sounds / "tags"])
    store = Store(sounds / "logmel")
    noisy = {clip.clip_id for clip in store.tables.clips if clip.extra["curated"] != "True"}
    plain, given = (gather(store, rows.load(store, 1), "tag_resnet", None, "bce", None, s) for s in (None, soft))
    for clip_id, subset, before, after in zip(
        given.rows.clip_ids.tolist(), given.rows.subset, plain.rows.targets, given.rows.targets
    ):
        expected = soft.of_clip[clip_id] if clip_id in noisy and subset == "train" else before
        np.testing.assert_array_equal(after, expected)
    asctool("train", sounds / "logmel", tmp_path / "second", *SMALL, "--soft-targets", sounds / "tags")
    inputs = [manifest.read(path)["inputs"] for path in (sounds / "run", tmp_path / "second")]
    assert inputs[0]["train rows"] != inputs[1]["train rows"]
    assert inputs[0]["valid rows"] == inputs[1]["valid rows"]


def test_a_tagger_learns_what_it_hears(sounds: Path) -> None:
    """Two tones and noise are told apart in a few epochs, each by itself."""
    from asctool.training.examples import normalization_of
    from asctool.training.trainer import Trainer

    store = Store(sounds / "logmel")
    given = gather(store, rows.load(store, 1), "tag_resnet", None, "bce", None, None)
    train = given.examples("train")
    torch.manual_seed(0)
    network = models.build("tag_resnet", {"width": 8, "hidden": 16}, InputShape.of(train.features.shape[1:]), 3)
    setting = some(epochs=25, loss="bce", precision="float32", learning_rate=3e-3)
    trainer = Trainer(network, train, normalization_of(train.features), setting, torch.device("cpu"))
    losses = [trainer.run_epoch().loss for _ in range(25)]
    assert losses[-1] < 0.3 * losses[0]
    found = inference.compute(trainer.network, train.features, normalization_of(train.features), "tag", trainer.device)
    curated = train.beside == 0
    assert ((found > 0.5) == (train.targets > 0.5))[curated].mean() > 0.95


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_frames": (5,)}, "two numbers"),
        ({"crop_frames": (9, 5)}, "the fewest and the most"),
        ({"least_rate": 0.1}, "above the learning rate"),
        ({"gain_db": -1.0}, "must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        some(**changes)


def test_varied_rows_go_on_from_a_checkpoint_to_the_bit() -> None:
    from asctool.training import checkpoint
    from asctool.training.examples import Examples
    from asctool.training.trainer import Trainer

    rng = np.random.default_rng(0)
    images = rng.normal(size=(12, 1, 32, 60)).astype(np.float32)
    heads = np.arange(12) % 2
    data = Examples(images, (rng.random((12, 3)) < 0.4).astype(np.float32), np.arange(12), heads)
    changes = {"crop_frames": (32, 48), "widest_band_mask": 4, "gain_db": 2.0, "mix": "mixup", "loss": "bce"}

    def trainer() -> Trainer:
        torch.manual_seed(0)
        network = models.build("tag_resnet", {"width": 2, "hidden": 4}, InputShape(1, 32, 60), 3)
        setting = some(precision="float32", **changes)
        return Trainer(network, data, Normalization((0.0,), (1.0,)), setting, torch.device("cpu"))

    whole, first, second = trainer(), trainer(), trainer()
    for _ in range(3):
        whole.run_epoch()
    first.run_epoch()
    torch.manual_seed(5)  # whatever else has happened in the process
    second.restore(checkpoint.decode(checkpoint.encode(first.state()), torch.device("cpu")))
    for _ in range(2):
        second.run_epoch()
    assert checkpoint.weights_hash(second.network) == checkpoint.weights_hash(whole.network)


def test_a_head_that_judges_no_row_is_left_alone_and_training_goes_on_from_a_checkpoint() -> None:
    """Rows of one kind: the optimiser has nothing of the second head, and no other process waits for it."""
    from asctool.training import resuming
    from asctool.training.examples import Examples
    from asctool.training.trainer import Trainer

    rng = np.random.default_rng(0)
    targets = np.eye(3, dtype=np.float32)[np.arange(8) % 3]
    data = Examples(rng.normal(size=(8, 1, 32, 40)).astype(np.float32), targets, np.arange(8))

    def trainer() -> Trainer:
        return Trainer(small_network(), data, Normalization((0.0,), (1.0,)), some(loss="bce"), torch.device("cpu"))

    first = trainer()
    row = {"epoch": 1, "loss": first.run_epoch().loss}
    for weight, before in zip(first.network.parameters(), small_network().parameters()):
        assert (weight.grad is not None) == weight.requires_grad == (not torch.equal(weight, before))
    idle = [name for name, weight in first.network.named_parameters() if not weight.requires_grad]
    assert idle and all(name.startswith("heads.1.") for name in idle)
    progress = {"history": [row], "best": -1.0, "best_epoch": 0, "best_weights": None}
    resuming.restore(trainer(), {"trainer": first.state(), "progress": progress, "threads": 1})
