"""The CNN of Piczak 2015, baseline of Zhang 2019: two convolutions, two dense layers.

Shapes: images (row, channel, band, frame).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from asctool.errors import UsageError
from asctool.models._layers import InputShape

# Piczak 2015, short segments. L2 of 1e-3 in the loss is a decay of 2e-3.
TRAINING = {
    "optimizer": "sgd",
    "momentum": 0.9,
    "learning_rate": 0.002,
    "weight_decay": 2e-3,
    "batch_size": 1000,
    "epochs": 300,
    "loss": "kl",
}
TAKES = "feature"
KERNEL = (57, 6)  # of the first convolution: nearly all of the 60 bands
POOL, POOL_STRIDE = (4, 3), (1, 3)
NARROW = (1, 3)  # the second convolution and its pooling


@dataclass(frozen=True)
class Config:
    """Piczak 2015."""

    filters: int = 80
    hidden: int = 5000  # of both dense layers
    dropout: float = 0.5  # before the second convolution, the second dense layer and the output


class Network(nn.Module):
    """The network; ``embed`` gives the second dense layer, (row, hidden)."""

    def __init__(self, config: Config, shape: InputShape, n_classes: int) -> None:
        super().__init__()
        left = _flat_size(shape)
        self.convolutions = nn.Sequential(
            nn.Conv2d(shape.channels, config.filters, KERNEL),
            nn.ReLU(),
            nn.MaxPool2d(POOL, POOL_STRIDE),
            nn.Dropout(config.dropout),
            nn.Conv2d(config.filters, config.filters, NARROW),
            nn.ReLU(),
            nn.MaxPool2d(NARROW, NARROW),
        )
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(config.filters * left, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, n_classes)

    def embed(self, images: Tensor) -> Tensor:
        """Output of the second dense layer: (row, hidden)."""
        return self.dense(self.convolutions(images))

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of an embedding: (row, class)."""
        return self.output(self.dropout(embedding))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))


def _flat_size(shape: InputShape) -> int:
    """Places left of an image after both convolutions and poolings; UsageError when there are none."""
    bands = shape.bands - KERNEL[0] + 1 - POOL[0] + 1
    frames = (shape.frames - KERNEL[1] + 1) // POOL_STRIDE[1]
    frames = (frames - NARROW[1] + 1) // NARROW[1]
    if bands < 1 or frames < 1:
        raise UsageError(
            f"features of {shape.bands} bands x {shape.frames} frames are too few for piczak_cnn: 60 x 23 at least"
        )
    return bands * frames
