"""ACRNN (Zhang 2019): eight convolutions, two bidirectional GRU layers, frame-level attention at one of six places.

Shapes: images (row, channel, band, frame); sequences (row, frame, dim).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from asctool.errors import UsageError
from asctool.models._layers import InputShape

# The paper's training, sections 2.2 and 3.1. Keras adds 1e-4 w^2 to the loss, whose slope is that of a decay of 2e-4.
TRAINING = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "learning_rate": 0.01,
    "schedule": "step",
    "drop_at": (1 / 3, 2 / 3),
    "weight_decay": 2e-4,
    "batch_size": 64,
    "epochs": 300,
    "loss": "kl",
}
TAKES = "feature"
INITIAL_DEVIATION = 0.05  # of all weights, section 3.1; biases begin at zero


@dataclass(frozen=True)
class Block:
    """Two convolutions with the same kernel, then a maximum over pool = stride; sizes are (band, frame)."""

    filters: int
    kernel: tuple[int, int]
    pool: tuple[int, int]


BLOCKS = (
    Block(32, (3, 5), (4, 3)),  # l1, l2
    Block(64, (3, 1), (4, 1)),  # l3, l4
    Block(128, (1, 5), (1, 3)),  # l5, l6
    Block(256, (3, 3), (2, 2)),  # l7, l8
)
PLACES = ("l2", "l4", "l6", "l8")  # attention after the second convolution of each block, before its pooling


@dataclass(frozen=True)
class Config:
    """Zhang 2019, sections 2.2 and 2.3."""

    attention: Literal["none", "l2", "l4", "l6", "l8", "l10"] = "l10"
    hidden: int = 256  # GRU units a direction
    rnn_dropout: float = 0.5  # on the output of each recurrent layer


class FrameAttention(nn.Module):
    """Attention for CNN layers, figure 3a: a 3 x 3 filter, the mean over bands, a softmax over frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels, 1, 3, padding=1, bias=False)  # softmax takes no notice of a bias

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (row, filter, band, frame) -> weights (row, frame), summing to one."""
        return self.filter(maps).float().mean(2).squeeze(1).softmax(-1)


class Network(nn.Module):
    """The network; ``embed`` gives v of equation 3, (row, 2 x hidden)."""

    def __init__(self, config: Config, shape: InputShape, n_classes: int) -> None:
        super().__init__()
        self.place = config.attention
        size = 2 * config.hidden
        self.stages = nn.ModuleList()
        channels, bands, frames = shape.channels, shape.bands, shape.frames
        for block in BLOCKS:
            self.stages.append(_convolutions(channels, block))
            channels, bands, frames = block.filters, bands // block.pool[0], frames // block.pool[1]
        if not bands or not frames:
            raise UsageError(
                f"{shape.bands} bands x {shape.frames} frames are too few for acrnn: it pools 32 x 18 to one"
            )
        if self.place in PLACES:
            self.frame_attention = FrameAttention(BLOCKS[PLACES.index(self.place)].filters)
        self.gru_1 = nn.GRU(channels * bands, config.hidden, batch_first=True, bidirectional=True)
        self.gru_2 = nn.GRU(size, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.rnn_dropout)
        if self.place == "l10":
            self.score = nn.Linear(size, 1, bias=False)  # W of equation 2
        self.output = nn.Linear(size, n_classes)
        self.apply(_initialise)

    def convolved(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps (row, 256, band, frame), and the attention (row, frame) where its place is among the convolutions."""
        maps, weights = images, None
        for place, block, layers in zip(PLACES, BLOCKS, self.stages):
            maps = layers(maps)
            if place == self.place:
                weights = self.frame_attention(maps)
                maps = maps * weights[:, None, None].to(maps.dtype)  # equation 1
            maps = nn.functional.max_pool2d(maps, block.pool)
        return maps, weights

    def recurrent(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """h_t (row, frame, 2 x hidden); the last state of both directions (row, 2 x hidden); attention before them."""
        maps, weights = self.convolved(images)
        sequence = maps.flatten(1, 2).transpose(1, 2)  # (row, frame, filters x bands)
        sequence = self.dropout(self.gru_1(sequence)[0])
        sequence, last = self.gru_2(sequence)
        return self.dropout(sequence), self.dropout(last.transpose(0, 1).flatten(1)), weights

    def attention_of(self, sequence: Tensor) -> Tensor:
        """Equation 2: h (row, frame, dim) -> weights (row, frame), summing to one."""
        return self.score(sequence).squeeze(-1).float().softmax(-1)

    def embed(self, images: Tensor) -> Tensor:
        """v of equation 3; without attention at l10 the last states of both directions: (row, 2 x hidden)."""
        sequence, last, _ = self.recurrent(images)
        if self.place != "l10":
            return last
        return (self.attention_of(sequence).unsqueeze(2) * sequence).sum(1)

    def attention(self, images: Tensor) -> Tensor:
        """Attention weights where this network has them: (row, frame), fewer frames the later the layer."""
        if self.place == "none":
            raise UsageError("this acrnn was trained with attention=none: it has no attention to extract")
        if self.place != "l10":
            weights = self.convolved(images)[1]
            assert weights is not None  # the place is among PLACES
            return weights
        return self.attention_of(self.recurrent(images)[0])

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of an embedding: (row, class)."""
        return self.output(embedding)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))


def _convolutions(channels: int, block: Block) -> nn.Sequential:
    """Twice convolution (SAME), batch normalisation, ReLU; the normalisation makes a bias of the convolution idle."""
    layers: list[nn.Module] = []
    padding = (block.kernel[0] // 2, block.kernel[1] // 2)
    for inputs in (channels, block.filters):
        layers += [
            nn.Conv2d(inputs, block.filters, block.kernel, padding=padding, bias=False),
            nn.BatchNorm2d(block.filters),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


@torch.no_grad()
def _initialise(module: nn.Module) -> None:
    """Gaussian weights, biases of zero (section 3.1)."""
    if isinstance(module, (nn.Conv2d, nn.Linear, nn.GRU)):
        for name, parameter in module.named_parameters(recurse=False):
            if "weight" in name:
                nn.init.normal_(parameter, std=INITIAL_DEVIATION)
            else:
                nn.init.zeros_(parameter)
