"""ResNet-34 that tags log-mel spectrograms (Akiyama 2019, the tagger of Jung 2020), a head for each kind of labels.

Shapes: images (row, channel, band, frame); any number of bands and frames from 32 on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asctool.errors import UsageError
from asctool.models._layers import InputShape

# Not in Jung 2020: Akiyama & Sato's code. A batch holds as many rows of curated as of noisy labels, 64 each.
TRAINING = {
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "cycle_epochs": 64,
    "least_rate": 1e-6,
    "batch_size": 128,
    "epochs": 512,
    "loss": "bce",
    "mix": "mixup",
    "mix_alpha": 1.0,
    "crop_frames": (512, 1024),
    "widest_band_mask": 32,
    "gain_db": 1.0,
}
TAKES = "feature"
HEAD_COLUMN = "curated"  # of clips: True for the first head, anything else for the second
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # filters and blocks of ResNet-34 (He et al. 2016, Table 1)
SMALLEST = 32  # bands and frames that are pooled to one


@dataclass(frozen=True)
class Config:
    """Akiyama 2019."""

    width: int = 64  # filters of the first stage; it doubles with each
    hidden: int = 1024  # of both hidden layers of a head
    dropout_1: float = 0.2
    dropout_2: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 1 or self.hidden < 1:
            raise UsageError(f"width={self.width}, hidden={self.hidden}: one at least")


class Block(nn.Module):
    """Two convolutions of 3 x 3 and what comes in, brought to their size where they halve it."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(inputs, filters, 3, stride), nn.ReLU(), *_convolution(filters, filters, 3, 1)
        )
        changes = stride > 1 or inputs != filters
        self.shortcut = nn.Sequential(*_convolution(inputs, filters, 1, stride)) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.convolutions(maps) + self.shortcut(maps))


class Network(nn.Module):
    """The network; ``embed`` gives the maximum of each filter, (row, 8 x width)."""

    N_HEADS = 2

    def __init__(self, config: Config, shape: InputShape, n_classes: int) -> None:
        super().__init__()
        if shape.bands < SMALLEST or shape.frames < SMALLEST:
            raise UsageError(
                f"features of {shape.bands} bands x {shape.frames} frames are too few for tag_resnet, which pools "
                f"{SMALLEST} x {SMALLEST} to one"
            )
        layers: list[nn.Module] = [*_convolution(shape.channels, config.width, 7, 2), nn.ReLU()]
        layers.append(nn.MaxPool2d(3, 2, 1))
        inputs = config.width
        for number, (filters, n_blocks) in enumerate(STAGES):
            filters = filters * config.width // STAGES[0][0]
            for index in range(n_blocks):
                layers.append(Block(inputs, filters, 2 if number and not index else 1))
                inputs = filters
        self.convolutions = nn.Sequential(*layers)
        self.heads = nn.ModuleList(_head(inputs, config, n_classes) for _ in range(self.N_HEADS))

    def embed(self, images: Tensor) -> Tensor:
        """Global maximum over bands and frames: (row, 8 x width)."""
        return self.convolutions(images).amax((2, 3))

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of an embedding by the head of curated labels: (row, class)."""
        return self.heads[0](embedding)

    def forward(self, images: Tensor, heads: Tensor | None = None) -> Tensor:
        """Logits (row, class); of each row by the head of its number (row,), by the first without."""
        embedding = self.embed(images)
        if heads is None:
            return self.classify(embedding)
        logits = torch.stack([head(embedding) for head in self.heads], 1)  # (row, head, class)
        return logits[torch.arange(len(heads), device=heads.device), heads]


def _convolution(inputs: int, filters: int, size: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, filters, size, stride, size // 2, bias=False), nn.BatchNorm2d(filters)]


def _head(inputs: int, config: Config, n_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout_1),
        nn.Linear(config.hidden, config.hidden),
        nn.ReLU(),
        nn.Dropout(config.dropout_2),
        nn.Linear(config.hidden, n_classes),
    )
