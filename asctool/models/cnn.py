"""The CNN baseline of Phan 2019: the convolutions of Att-CRNN and a global maximum.

Shapes: images (row, channel, band, frame).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from asctool.errors import UsageError
from asctool.models._layers import InputShape, PhanConvolutions
from asctool.models.att_crnn import TAKES, TRAINING

__all__ = ["TAKES", "TRAINING", "Config", "Network"]


@dataclass(frozen=True)
class Config:
    """Phan 2019, sections 2.2 and 4.4."""

    filters: tuple[int, ...] = (64, 128, 256)
    conv_dropout: float = 0.25

    def __post_init__(self) -> None:
        if len(self.filters) != 3:
            raise UsageError(f"filters={list(self.filters)}: three numbers are needed, one a convolution")


class Network(nn.Module):
    """The network; ``embed`` gives the maximum of each filter, (row, filters[-1])."""

    def __init__(self, config: Config, shape: InputShape, n_classes: int) -> None:
        super().__init__()
        PhanConvolutions.bands_left(shape)
        self.convolutions = PhanConvolutions(shape.channels, config.filters, config.conv_dropout)
        self.output = nn.Linear(config.filters[-1], n_classes)

    def embed(self, images: Tensor) -> Tensor:
        """Global maximum over bands and frames: (row, filters[-1])."""
        return self.convolutions(images).amax((2, 3))

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of an embedding: (row, class)."""
        return self.output(embedding)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))
