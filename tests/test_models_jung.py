"""raw_resnet: Table 1's shapes, parameters by hand, and what its tags do, by closed forms."""

import dataclasses

import numpy as np
import pytest
import torch

from asctool import models, registry
from asctool.dsp import segments
from asctool.errors import UsageError
from asctool.models._layers import InputShape
from asctool.models.raw_resnet import Config, Network
from asctool.stages.train import configure
from asctool.training import inference, summary
from asctool.training.examples import Normalization

LENGTH = 27000  # samples: one step is left after seven poolings
VARIANTS = [
    {"tags": "codecat"},
    {"tags": "codecat_transform"},
    *({"tags": "before_code", "layers": layers} for layers in (1, 3)),
    *({"tags": "attention", "layers": layers, "heads": heads} for layers, heads in ((0, 2), (1, 32))),
    *({"tags": "both", "layers": layers, "heads": 4} for layers in (0, 2)),
    {"tags": "both", "transform": "separate", "layers": 3, "attention_layers": 4},
]


def name_of(config: dict[str, object]) -> str:
    return "-".join(map(str, config.values()))


def network(config: dict[str, object], n_tags: int = 80, length: int = LENGTH) -> Network:
    torch.manual_seed(0)
    shape = InputShape(2, 0, length, n_tags if config.get("tags", "none") != "none" else 0)
    built = models.build("raw_resnet", dataclasses.asdict(Config(**config)), shape, 10)  # type: ignore[arg-type]
    assert isinstance(built, Network)
    return built.eval()


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 2, LENGTH, generator=generator), torch.rand(3, 80, generator=generator)


def silence(module: torch.nn.Module) -> None:
    """Weights and biases of zero."""
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)


def test_feature_maps_are_those_of_table_1() -> None:
    """480 000 samples are 479 999 once pre-emphasised, which the table begins with."""
    with torch.device("meta"):
        shape = InputShape(2, 0, 480_000)
        built = models.build("raw_resnet", {}, shape, 10).eval()
        maps = torch.zeros(1, 2, 1, 479_999)
        lengths = []
        for layer in built.convolutions:
            maps = layer(maps)
            lengths.append(tuple(maps.shape[1:]))
        assert lengths[0] == (128, 1, 39999) and lengths[-1] == (128, 1, 18)
        assert built.maps(torch.zeros(1, 2, 480_000)).shape == (1, 128, 1, 18)
        assert built.embed(torch.zeros(1, 2, 480_000)).shape == (1, 64)


def test_parameters_are_counted_by_hand() -> None:
    """Table 1 as printed, with no bias before a normalisation: 0.71 M, not the paper's 676 k."""
    convolutions = 12 * 2 * 128 + 7 * 2 * 3 * 128 * 128 + 2 * 128 * 15
    plain = convolutions + (256 + 1) * 64 + (64 + 1) * 10
    assert summary.n_parameters(network({})) == plain == 712_138
    layer, projection = (80 + 1) * 128 + (128 + 1) * 128 * 2, (128 + 1) * 128
    found = {name_of(config): summary.n_parameters(network(config)) - plain for config in VARIANTS}
    assert found == {
        "codecat": 80 * 10,
        "codecat_transform": (64 + 80 + 1) * 64,
        "before_code-1": (80 + 1) * 128 + 128 * 64,
        "before_code-3": layer + 128 * 64,
        "attention-0-2": (80 + 1) * 128,
        "attention-1-32": (80 + 1) * 128 + projection,
        "both-0-4": 80 * 64 + (80 + 1) * 128,
        "both-2-4": (80 + 1) * 128 + (128 + 1) * 128 + 128 * 64 + projection,
        "both-separate-3-4": layer + 128 * 64 + layer + (128 + 1) * 128 + projection,
    }


def test_pre_emphasis_is_the_first_difference() -> None:
    waves, _ = rows()
    plain = network({"pre_emphasis": 0.0})
    emphasised = network({})
    torch.testing.assert_close(emphasised.maps(waves), plain.maps(waves[..., 1:] - 0.97 * waves[..., :-1]))
    torch.testing.assert_close(
        network({"pre_emphasis": 1.0}).maps(waves + 5), network({"pre_emphasis": 1.0}).maps(waves)
    )


@pytest.mark.parametrize("heads", [2, 4, 8, 16, 32])
def test_with_equal_scores_attention_weighs_all_filters_of_a_head_alike(heads: int) -> None:
    built = network({"tags": "attention", "heads": heads})
    silence(built.filter_attention)
    weights = built.filter_weights(rows()[1])
    torch.testing.assert_close(weights, torch.full((3, 128), heads / 128))


@pytest.mark.parametrize("heads", [2, 32])
def test_weights_are_a_softmax_within_each_head(heads: int) -> None:
    built = network({"tags": "attention", "layers": 0, "heads": heads})
    tags = rows()[1]
    scores = tags @ built.filter_attention.projection.weight.T + built.filter_attention.projection.bias
    size = 128 // heads
    expected = torch.cat([scores[:, i : i + size].softmax(1) for i in range(0, 128, size)], 1)
    torch.testing.assert_close(built.filter_weights(tags), expected)


@pytest.mark.parametrize("layers", [0, 2])
def test_weighing_pooled_filters_is_weighing_their_maps(layers: int) -> None:
    """Equation 2 before the global poolings, as the paper has it."""
    built = network({"tags": "attention", "layers": layers})
    waves, tags = rows()
    maps = built.maps(waves) * built.filter_weights(tags)[:, :, None, None]
    pooled = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
    torch.testing.assert_close(built.embed(waves, tags), built.code(pooled))


@pytest.mark.parametrize("config", VARIANTS, ids=name_of)
def test_tags_change_what_comes_out_and_have_no_effect_once_their_layers_are_zero(config: dict[str, object]) -> None:
    built = network(config)
    waves, tags = rows()
    other = tags.flip(1)
    assert not torch.allclose(built(waves, tags), built(waves, other))
    for part in ("tag_layers", "attention_layers", "filter_attention"):
        if hasattr(built, part):
            silence(getattr(built, part))
    with torch.no_grad():  # where the tags themselves are joined, the weights that meet them
        if config["tags"] == "codecat":
            built.output.weight[:, 64:] = 0
        if config["tags"] == "codecat_transform":
            built.transform.weight[:, 64:] = 0
        if config["tags"] == "both" and config["layers"] == 0:
            built.code.weight[:, 256:] = 0
    assert torch.equal(built(waves, tags), built(waves, other))


def test_slices_of_a_row_share_its_tags() -> None:
    """At test, a network of random crops takes the mean over slices; each has the tags of its own row beside it."""
    built = network({"tags": "both", "blocks": 3}, length=LENGTH)
    waves, tags = (values.numpy() for values in rows())
    normalization, cpu = Normalization((0.0, 0.0), (1.0, 1.0)), torch.device("cpu")
    half = LENGTH // 2
    got = inference.compute(built, waves, normalization, "posterior", cpu, tags=tags, slice_frames=half)
    parts = [np.ascontiguousarray(waves[..., first : first + half]) for first in segments.starts(LENGTH, half, half)]
    each = [inference.compute(built, part, normalization, "posterior", cpu, tags=tags) for part in parts]
    np.testing.assert_allclose(got, np.mean(each, 0), rtol=1e-4)


def test_codecat_keeps_the_tags_and_a_layer_brings_the_code_back_to_64() -> None:
    waves, tags = rows()
    assert torch.equal(network({"tags": "codecat"}).embed(waves, tags)[:, 64:], tags)
    assert network({"tags": "codecat_transform"}).embed(waves, tags).shape == (3, 64)


def test_shared_layers_serve_both_and_separate_ones_do_not() -> None:
    shared = network({"tags": "both", "layers": 2})
    separate = network({"tags": "both", "layers": 2, "transform": "separate"})
    tags = rows()[1]
    for built, same in ((shared, True), (separate, False)):
        before = built.filter_weights(tags)
        silence(built.tag_layers)
        assert torch.allclose(built.filter_weights(tags), before) != same


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"heads": 3}, "heads=3: must divide the 128 filters"),
        ({"tags": "attention", "attention_layers": 2}, "attention_layers is for tags=both with transform=separate"),
        ({"layers": -1}, "must not be negative"),
        ({"pre_emphasis": 1.5}, "from 0 to 1"),
        ({"code": 0}, "code=0: one at least"),
    ],
)
def test_configurations_that_make_no_sense_are_told(config: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Config(**config)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "config", "message"),
    [
        (InputShape(2, 64, 80), {}, "takes waveforms, not features of 64 bands"),
        (InputShape(2, 0, LENGTH, 80), {}, "takes no tags"),
        (InputShape(2, 0, LENGTH), {"tags": "both"}, "needs tags"),
        (InputShape(2, 0, 26000), {}, "too short for raw_resnet: 26245 at least"),
    ],
)
def test_inputs_that_do_not_fit_are_told(shape: InputShape, config: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.build("raw_resnet", config, shape, 5)


def test_the_preset_and_the_defaults_are_the_same_training() -> None:
    from asctool.storage import settings

    assert configure("raw_resnet", settings.read_section("jung2020", "train")) == configure("raw_resnet", {})
    training = configure("raw_resnet", {}).training
    assert (training.optimizer, training.batch_size, training.mix_from_epoch) == ("amsgrad", 24, 5)
    assert registry.load("models", "raw_resnet").TAKES == "waveform"
