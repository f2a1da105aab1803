"""ResNet on raw waveforms (Jung 2020), with the tag vector of an audio tagger joined to it or steering its filters.

Shapes: waveforms (row, channel, sample); maps (row, filter, 1, step), for convolutions of height one are 2.6 times as
fast on a CPU as those without; tags (row, label), from 0 to 1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from asctool.errors import UsageError
from asctool.models._layers import InputShape

# Not in the paper: the group's earlier code (Jung 2019, dcase2019specialistkd).
TRAINING = {
    "optimizer": "amsgrad",
    "learning_rate": 1e-4,
    "weight_decay": 1e-3,
    "batch_size": 24,
    "epochs": 90,
    "mix": "mixup",
    "mix_alpha": 0.1,
    "mix_from_epoch": 5,
    "loss": "kl",
}
TAKES = "waveform"
SLOPE = 0.3  # of LeakyReLU below zero; not in the paper: the earlier code, and Keras' own
STRIDE = 12  # of the first convolution, and its length
POOL = 3


@dataclass(frozen=True)
class Config:
    """Jung 2020, Table 1 and section 3."""

    filters: int = 128
    blocks: int = 7
    code: int = 64
    pre_emphasis: float = 0.97  # x(n) - 0.97 x(n - 1), one sample fewer; the factor is not in the paper; 0: none
    tags: Literal["none", "codecat", "codecat_transform", "before_code", "attention", "both"] = "none"
    layers: int = 1  # of the tags, before they are joined (before_code, both) or become attention (attention, both)
    attention_layers: int | None = None  # of both, separate: those before attention; none: as many as layers
    tag_units: int = 128  # of each of those layers; not in the paper
    heads: int = 2  # of attention: filters are weighed within each
    transform: Literal["separate", "shared"] = "shared"  # of both: layers of their own, or the same

    def __post_init__(self) -> None:
        for name in ("filters", "blocks", "code", "tag_units", "heads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: one at least")
        if self.layers < 0 or (self.attention_layers or 0) < 0:
            raise UsageError(f"layers={self.layers}, attention_layers={self.attention_layers}: must not be negative")
        if not 0 <= self.pre_emphasis <= 1:
            raise UsageError(f"pre_emphasis={self.pre_emphasis}: from 0 to 1")
        if self.filters % self.heads:
            raise UsageError(f"heads={self.heads}: must divide the {self.filters} filters")
        if self.attention_layers is not None and (self.tags, self.transform) != ("both", "separate"):
            raise UsageError("attention_layers is for tags=both with transform=separate; elsewhere layers is meant")


class Block(nn.Module):
    """Table 1: twice convolution and batch normalisation, the input added before the last LeakyReLU, a maximum of 3."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(filters, filters, 3, 1), nn.LeakyReLU(SLOPE), *_convolution(filters, filters, 3, 1)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (row, filter, 1, step) -> a third of the steps."""
        maps = nn.functional.leaky_relu(maps + self.convolutions(maps), SLOPE)
        return nn.functional.max_pool2d(maps, (1, POOL))


class FilterAttention(nn.Module):
    """Section 3.2: a weight for each filter out of the tags, a softmax within each head."""

    def __init__(self, inputs: int, filters: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projection = nn.Linear(inputs, filters)

    def forward(self, tags: Tensor) -> Tensor:
        """Tags or what layers made of them (row, unit) -> (row, filter), summing to one within each head."""
        scores = self.projection(tags).float()
        return scores.unflatten(1, (self.heads, -1)).softmax(-1).flatten(1)


class Network(nn.Module):
    """The network; ``embed`` gives the code: (row, code), with the tags behind it where tags=codecat."""

    def __init__(self, config: Config, shape: InputShape, n_classes: int) -> None:
        super().__init__()
        self.config = config
        _check(config, shape)
        self.convolutions = nn.Sequential(
            *_convolution(shape.channels, config.filters, STRIDE, STRIDE),
            nn.LeakyReLU(SLOPE),
            *(Block(config.filters) for _ in range(config.blocks)),
        )
        joins, attends = config.tags in ("before_code", "both"), config.tags in ("attention", "both")
        joined = 2 * config.filters  # mean and maximum of each filter
        if joins or config.tags == "attention":
            self.tag_layers, units = _tag_layers(shape.tags, config.tag_units, config.layers)
            joined += units if joins else 0
        if attends:
            if config.tags == "both" and config.transform == "separate":
                depth = config.layers if config.attention_layers is None else config.attention_layers
                self.attention_layers, units = _tag_layers(shape.tags, config.tag_units, depth)
            self.filter_attention = FilterAttention(units, config.filters, config.heads)
        self.code = nn.Linear(joined, config.code)
        size = config.code + (shape.tags if config.tags == "codecat" else 0)
        if config.tags == "codecat_transform":
            self.transform = nn.Linear(config.code + shape.tags, config.code)
        self.output = nn.Linear(size, n_classes)

    def maps(self, waves: Tensor) -> Tensor:
        """M of equation 1: (row, filter, 1, step)."""
        if self.config.pre_emphasis:
            waves = waves[..., 1:] - self.config.pre_emphasis * waves[..., :-1]
        return self.convolutions(waves.unsqueeze(2).contiguous(memory_format=torch.channels_last))

    def filter_weights(self, tags: Tensor) -> Tensor:
        """A of section 3.2: (row, filter), summing to one within each head."""
        own = hasattr(self, "attention_layers")
        return self.filter_attention((self.attention_layers if own else self.tag_layers)(tags))

    def embed(self, waves: Tensor, tags: Tensor | None = None) -> Tensor:
        """The code, which an SVM takes: (row, code), with tags=codecat (row, code + label)."""
        maps = self.maps(waves)
        joined = [maps.mean((2, 3)), maps.amax((2, 3))]
        if tags is None:
            return self.code(torch.cat(joined, 1))
        if hasattr(self, "filter_attention"):
            # Equation 2 weighs every step of a filter alike and by more than zero: so do its mean and its maximum.
            weights = self.filter_weights(tags).to(maps.dtype)
            joined = [weights * pooled for pooled in joined]
        if self.config.tags in ("before_code", "both"):
            joined.append(self.tag_layers(tags).to(maps.dtype))
        code = self.code(torch.cat(joined, 1))
        if self.config.tags.startswith("codecat"):
            code = torch.cat([code, tags.to(code.dtype)], 1)
        return self.transform(code) if self.config.tags == "codecat_transform" else code

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of an embedding: (row, class)."""
        return self.output(embedding)

    def forward(self, waves: Tensor, tags: Tensor | None = None) -> Tensor:
        return self.classify(self.embed(waves, tags))


def _check(config: Config, shape: InputShape) -> None:
    if shape.bands:
        raise UsageError(f"raw_resnet takes waveforms, not features of {shape.bands} bands: featurize --type waveform")
    if config.tags == "none" and shape.tags:
        raise UsageError("raw_resnet with tags=none takes no tags: give --set tags=... or leave out --tags")
    if config.tags != "none" and not shape.tags:
        raise UsageError(f"raw_resnet with tags={config.tags} needs tags: give --tags STORE")
    need = STRIDE * POOL**config.blocks + bool(config.pre_emphasis)
    if shape.frames < need:
        raise UsageError(f"waveforms of {shape.frames} samples are too short for raw_resnet: {need} at least")


def _convolution(inputs: int, filters: int, length: int, stride: int) -> list[nn.Module]:
    """A convolution along time and its normalisation, which makes a bias idle; with stride 1 the length is kept."""
    padding = (0, length // 2 if stride == 1 else 0)
    return [
        nn.Conv2d(inputs, filters, (1, length), (1, stride), padding, bias=False),
        nn.BatchNorm2d(filters),
    ]


def _tag_layers(n_tags: int, units: int, depth: int) -> tuple[nn.Sequential, int]:
    """So many layers with LeakyReLU, and how many numbers come out of them."""
    layers: list[nn.Module] = []
    for index in range(depth):
        layers += [nn.Linear(units if index else n_tags, units), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers), units if depth else n_tags
