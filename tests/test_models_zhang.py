"""ACRNN at every place of its attention, and Piczak's CNN: shapes and formulas, parameters by hand, real clips."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import asctool

from asctool import models, registry
from asctool.errors import UsageError
from asctool.models._layers import InputShape
from asctool.models.acrnn import Network as Acrnn
from asctool.storage import rows
from asctool.storage.store import Store
from asctool.training import inference, summary
from asctool.training.examples import Examples, normalization_of
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer

SHAPE = InputShape(channels=2, bands=128, frames=128)
STEPS = {"none": 0, "l2": 128, "l4": 42, "l6": 42, "l8": 14, "l10": 7}  # frames where attention is applied


def acrnn(attention: str, n_classes: int = 10) -> Acrnn:
    torch.manual_seed(0)
    network = models.build("acrnn", {"attention": attention}, SHAPE, n_classes)
    assert isinstance(network, Acrnn)
    return network


def test_feature_maps_are_those_of_section_2_2() -> None:
    shapes = [layer.output for layer in summary.layers(acrnn("l10"), SHAPE) if layer.kind == "Conv2d"]
    assert shapes == [
        *[(32, 128, 128)] * 2,
        *[(64, 32, 42)] * 2,  # after 4 x 3
        *[(128, 8, 42)] * 2,  # after 4 x 1
        *[(256, 8, 14)] * 2,  # after 1 x 3
    ]
    assert acrnn("l10").convolved(torch.zeros(1, 2, 128, 128))[0].shape == (1, 256, 4, 7)


@pytest.mark.parametrize("attention", STEPS)
def test_parameters_are_counted_by_hand(attention: str) -> None:
    convolutions = 15 * (2 * 32 + 32 * 32) + 3 * (32 * 64 + 64 * 64) + 5 * (64 * 128 + 128 * 128)
    convolutions += 9 * (128 * 256 + 256 * 256) + 2 * 2 * (
        32 + 64 + 128 + 256
    )  # and two a filter of each normalisation
    gru = 2 * 3 * 256 * (1024 + 256 + 2) + 2 * 3 * 256 * (512 + 256 + 2)  # directions, gates, inputs, states, biases
    own = {"none": 0, "l2": 9 * 32, "l4": 9 * 64, "l6": 9 * 128, "l8": 9 * 256, "l10": 512}[attention]
    assert summary.n_parameters(acrnn(attention)) == convolutions + gru + own + (512 + 1) * 10


@pytest.mark.parametrize(("attention", "own"), [("l2", "frame_attention.filter.weight"), ("l10", "score.weight")])
def test_weights_begin_gaussian_and_biases_at_zero(attention: str, own: str) -> None:
    """Each tensor: mean, deviation and the share within one deviation, to five standard errors of its size."""
    network = acrnn(attention)
    weights = {name: p.detach() for name, p in network.named_parameters() if p.ndim > 1 and "weight" in name}
    assert {own, "output.weight"} < set(weights) and len(weights) == 8 + 2 * 2 * 2 + 2  # convolutions, GRU, these
    for name, p in weights.items():
        n = p.numel()
        assert float(p.mean()) == pytest.approx(0, abs=5 * 0.05 / n**0.5), name
        assert float(p.std()) == pytest.approx(0.05, abs=5 * 0.05 / (2 * n) ** 0.5), name
        within = float((p.abs() < 0.05).float().mean())
        assert within == pytest.approx(0.6827, abs=5 * (0.6827 * 0.3173 / n) ** 0.5), name
    assert all(not p.any() for name, p in network.named_parameters() if "bias" in name)


def test_attention_of_frames_multiplies_their_maps_as_equation_1_says() -> None:
    network = acrnn("l8").eval()
    maps = torch.randn(2, 256, 8, 14)
    weights = network.frame_attention(maps)
    kernel = network.frame_attention.filter.weight
    hidden = torch.nn.functional.conv2d(maps, kernel, padding=1)  # (row, 1, band, frame)
    torch.testing.assert_close(weights, hidden.mean(dim=(1, 2)).softmax(1))
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_attention_of_the_last_layer_pools_as_equations_2_and_3_say() -> None:
    network = acrnn("l10").eval()
    images = torch.randn(2, 2, 128, 128)
    h = network.recurrent(images)[0]
    expected = torch.zeros(2, 512)
    scores = torch.stack([h[:, t] @ network.score.weight[0] for t in range(7)], dim=1).exp()
    for t in range(7):
        expected += (scores[:, t] / scores.sum(1)).unsqueeze(1) * h[:, t]
    torch.testing.assert_close(network.embed(images), expected)
    torch.nn.init.zeros_(network.score.weight)
    torch.testing.assert_close(network.embed(images), h.mean(1))  # equal scores: the mean over time


def test_without_attention_the_last_states_are_kept() -> None:
    network = acrnn("none").eval()
    images = torch.randn(2, 2, 128, 128)
    h = network.recurrent(images)[0]
    ends = torch.cat([h[:, -1, :256], h[:, 0, 256:]], dim=1)  # forward at the end, backward at the beginning
    torch.testing.assert_close(network.embed(images), ends)
    with pytest.raises(UsageError, match="attention=none"):
        network.attention(images)


@pytest.fixture(scope="module")
def real_rows(esc10: Path, tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Rows of a dog, a rooster and a clock from ESC-10, as Zhang 2019 makes them."""
    base = tmp_path_factory.mktemp("zhang")
    clips = ("1-100032-A-0", "1-26806-A-1", "1-21934-A-38")
    lines = [f"{clip}.ogg,{clip.rpartition('-')[2]},train" for clip in clips]
    lines += ["2-114280-A-0.ogg,0,test", "2-100786-A-1.ogg,1,test", "2-119748-A-38.ogg,38,test"]
    (base / "table.csv").write_text("\n".join(["filename,label,split", *lines]) + "\n")
    asctool("prep", "table", base / "table.csv", base / "data", "--root", esc10 / "audio", "--jobs", 1, "--quiet")
    asctool(
        *("featurize", base / "data", base / "features", "--type", "gammatone", "--delta", "--config", "zhang2019"),
        *("--jobs", 1, "--quiet"),
    )
    data = rows.load(Store(base / "features", "feature"), 1)
    train = data.select("train")[::3]
    return Examples(data.features[train], data.targets[train], data.clip_index(train))


@pytest.mark.parametrize("attention", STEPS)
def test_each_place_of_attention_learns_from_real_clips(attention: str, real_rows: Examples) -> None:
    """A few steps: the loss falls, every parameter has a gradient and moves, outputs have their shapes, sum to one."""
    network = acrnn(attention, 3)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    settings = Settings(epochs=3, batch_size=6, learning_rate=0.01, optimizer="sgd", precision="float32")
    trainer = Trainer(network, real_rows, normalization_of(real_rows.features), settings, torch.device("cpu"))
    losses = [trainer.run_epoch().loss for _ in range(3)]
    assert losses[-1] < losses[0]
    for name, p in trainer.network.named_parameters():
        assert p.grad.shape == p.shape and torch.isfinite(p.grad).all() and p.grad.any(), name
        assert not torch.equal(p, before[name]), f"{name} has not moved"
    given = (trainer.network, real_rows.features, normalization_of(real_rows.features))
    assert inference.compute(*given, "embedding", trainer.device).shape == (len(real_rows), 512)
    posteriors = inference.compute(*given, "posterior", trainer.device)
    assert posteriors.shape == (len(real_rows), 3)
    np.testing.assert_allclose(posteriors.sum(1), 1, rtol=1e-5)
    if attention != "none":
        weights = inference.compute(*given, "attention", trainer.device)
        assert weights.shape == (len(real_rows), STEPS[attention])
        np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)


def test_piczak_s_feature_maps_and_parameters() -> None:
    for frames, left in ((41, 3), (101, 10)):
        shape = InputShape(2, 60, frames)
        network = models.build("piczak_cnn", {}, shape, 10)
        outputs = [layer.output for layer in summary.layers(network, shape) if layer.kind in ("Conv2d", "MaxPool2d")]
        pooled = (frames - 5) // 3
        assert outputs == [(80, 4, frames - 5), (80, 1, pooled), (80, 1, pooled - 2), (80, 1, left)]
        convolutions = (57 * 6 * 2 + 1) * 80 + (3 * 80 + 1) * 80
        dense = (80 * left + 1) * 5000 + (5000 + 1) * 5000 + (5000 + 1) * 10
        assert summary.n_parameters(network) == convolutions + dense


@pytest.mark.parametrize(
    ("name", "shape"), [("acrnn", (2, 31, 128)), ("acrnn", (2, 128, 17)), ("piczak_cnn", (2, 59, 41))]
)
def test_images_too_small_are_told(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="too few"):
        models.build(name, registry.load("models", name).Config(), InputShape(*shape), 5)


def test_the_paper_s_learning_rates() -> None:
    from asctool.stages.train import configure
    from asctool.training.settings import learning_rate

    training = configure("acrnn", {}).training
    rates = [learning_rate(training, epoch) for epoch in (0, 99, 100, 199, 200, 299)]
    assert rates == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])
