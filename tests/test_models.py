"""Every network of the folder, and Att-CRNN against the paper's formulas."""

import dataclasses

import pytest
import torch

from asctool import models, registry
from asctool.errors import UsageError
from asctool.models._layers import InputShape
from asctool.training import summary

SHAPE = InputShape(channels=2, bands=64, frames=80)
INPUTS = {"feature": SHAPE, "waveform": InputShape(channels=2, bands=0, frames=30000)}  # by what a model takes


@pytest.mark.parametrize("name", registry.names("models"))
def test_contract(name: str) -> None:
    """A frozen configuration, the paper's training, logits, an embedding that classify takes, gradients everywhere."""
    module = registry.load("models", name)
    assert dataclasses.is_dataclass(module.Config) and module.Config.__dataclass_params__.frozen
    assert {"optimizer", "learning_rate", "batch_size", "epochs"} <= set(module.TRAINING)
    torch.manual_seed(0)
    shape = INPUTS[module.TAKES]
    network = models.build(name, dataclasses.asdict(module.Config()), shape, 5)
    images = torch.randn(3, *shape.row)
    beside = [torch.arange(3) % network.N_HEADS] if hasattr(network, "N_HEADS") else []
    logits = network(images, *beside)
    assert logits.shape == (3, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    network.eval()
    torch.testing.assert_close(network.classify(network.embed(images)), network(images))


@pytest.mark.parametrize("shape", [SHAPE, INPUTS["waveform"], InputShape(2, 0, 30000, tags=80)])
def test_a_shape_is_that_of_its_rows(shape: InputShape) -> None:
    assert InputShape.of(shape.row, shape.tags) == shape
    rows, *tags = shape.zeros(3)
    assert tuple(rows.shape) == (3, *shape.row) and [tuple(t.shape) for t in tags] == [(3, 80)] * bool(shape.tags)


def att_crnn(**config: float) -> torch.nn.Module:
    torch.manual_seed(1)
    module = registry.load("models", "att_crnn")
    return models.build("att_crnn", module.Config(**config), SHAPE, 5).eval()


def test_feature_maps_are_those_of_table_1() -> None:
    shapes = [layer.output for layer in summary.layers(att_crnn(), SHAPE) if layer.kind in ("Conv2d", "MaxPool2d")]
    assert shapes == [(64, 64, 80), (64, 16, 80), (128, 16, 80), (128, 4, 80), (256, 4, 80), (256, 1, 80)]


def test_parameters_are_counted_by_hand() -> None:
    conv = (5 * 5 * 2 + 1) * 64 + (3 * 3 * 64 + 1) * 128 + (2 * 2 * 128 + 1) * 256 + 2 * (64 + 128 + 256)
    assert summary.n_parameters(models.build("cnn", {}, SHAPE, 10)) == conv + (256 + 1) * 10
    gru = 2 * 3 * 128 * (256 + 128 + 2)  # both directions, three gates, inputs, hidden, two biases
    attention = (256 + 1) * 64 + 64 + (80 + 1) * 64 + 64
    module = registry.load("models", "att_crnn")
    network = models.build("att_crnn", module.Config(), SHAPE, 10)
    assert summary.n_parameters(network) == conv + 2 * gru + (256 + 1) * 256 + attention + (256 + 1) * 10


def test_attention_weights_sum_to_one_and_pool_as_equation_9_says() -> None:
    network = att_crnn()
    images = torch.randn(2, 2, 64, 80)
    z = network.recurrent(images)
    temporal, spatial = network.attention_of(z)
    assert temporal.shape == (2, 80) and spatial.shape == (2, 256)
    torch.testing.assert_close(temporal.sum(1), torch.ones(2))
    torch.testing.assert_close(spatial.sum(1), torch.ones(2))
    expected = torch.zeros(2, 256)
    for t in range(80):
        expected += torch.tanh(spatial * temporal[:, t : t + 1] * z[:, t])
    torch.testing.assert_close(network.embed(images), expected)


def test_scores_are_v_tanh_of_equations_6_and_7() -> None:
    network = att_crnn()
    z = torch.randn(1, 80, 256)
    scores = torch.stack(
        [torch.tanh(z[0, t] @ network.temporal_hidden.weight.T + network.temporal_hidden.bias) for t in range(80)]
    )
    expected = (scores @ network.temporal_score.weight[0]).softmax(0)
    torch.testing.assert_close(network.attention_of(z)[0][0], expected)


def test_with_equal_scores_attention_is_the_mean() -> None:
    network = att_crnn(mask_scale=0.0)
    with torch.no_grad():
        network.temporal_score.weight.zero_()
        network.spatial_score.weight.zero_()
    images = torch.randn(2, 2, 64, 80)
    torch.testing.assert_close(network.embed(images), torch.tanh(network.recurrent(images)).sum(1))


def test_too_few_bands_are_told() -> None:
    module = registry.load("models", "att_crnn")
    with pytest.raises(UsageError, match="40 bands are too few"):
        models.build("att_crnn", module.Config(), InputShape(1, 40, 80), 5)
    with pytest.raises(UsageError, match="three numbers are needed"):
        module.Config(filters=(1, 2))
