"""Att-CRNN (Phan 2019): convolutions, two bidirectional GRU layers, spatio-temporal attention pooling.

Shapes: images (row, channel, band, frame); sequences (row, frame, dim).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asctool.errors import UsageError
from asctool.models._layers import InputShape, PhanConvolutions, additive_scores

# The paper's training, section 4.3 and equation 12.
TRAINING = {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 100, "epochs": 500, "loss": "kl"}
TAKES = "feature"


@dataclass(frozen=True)
class Config:
    """Phan 2019, sections 2.2, 2.3 and 4.3."""

    filters: tuple[int, ...] = (64, 128, 256)  # of the three convolutions
    conv_dropout: float = 0.25
    hidden: int = 128  # GRU units a direction
    rnn_dropout: float = 0.1  # on inputs and outputs of each recurrent layer
    attention_size: int = 64  # of both scorers
    mask_scale: float = (
        1.0  # 1: equation 9 as printed; 0: frames x 2 hidden, so that the mask's mean is one (not in the paper)
    )

    def __post_init__(self) -> None:
        if len(self.filters) != 3:
            raise UsageError(f"filters={list(self.filters)}: three numbers are needed, one a convolution")


class Network(nn.Module):
    """The network; ``embed`` gives x of equation 9, (row, 2 x hidden)."""

    def __init__(self, config: Config, shape: InputShape, n_classes: int) -> None:
        super().__init__()
        size = 2 * config.hidden
        self.convolutions = PhanConvolutions(shape.channels, config.filters, config.conv_dropout)
        self.dropout = nn.Dropout(config.rnn_dropout)
        inputs = config.filters[-1] * PhanConvolutions.bands_left(shape)
        self.gru_1 = nn.GRU(inputs, config.hidden, batch_first=True, bidirectional=True)
        self.gru_2 = nn.GRU(size, config.hidden, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(size, size)  # equation 1
        self.temporal_hidden = nn.Linear(size, config.attention_size)  # equation 6
        self.temporal_score = nn.Linear(config.attention_size, 1, bias=False)
        self.spatial_hidden = nn.Linear(shape.frames, config.attention_size)  # equation 7; fixes the number of frames
        self.spatial_score = nn.Linear(config.attention_size, 1, bias=False)
        self.output = nn.Linear(size, n_classes)
        self.mask_scale = config.mask_scale or float(shape.frames * size)

    def recurrent(self, images: Tensor) -> Tensor:
        """Z of equations 1 to 3: (row, frame, 2 x hidden)."""
        maps = self.convolutions(images)
        sequence = maps.flatten(1, 2).transpose(1, 2)  # (row, frame, filters x bands)
        for gru in (self.gru_1, self.gru_2):
            sequence = self.dropout(gru(self.dropout(sequence))[0])
        return self.projection(sequence)

    def attention_of(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Temporal (row, frame) and spatial (row, 2 x hidden) weights, each summing to one (equations 4 and 5)."""
        temporal = additive_scores(z, self.temporal_hidden, self.temporal_score)
        spatial = additive_scores(z.transpose(1, 2), self.spatial_hidden, self.spatial_score)
        return temporal.float().softmax(-1), spatial.float().softmax(-1)

    def embed(self, images: Tensor) -> Tensor:
        """x of equation 9: (row, 2 x hidden)."""
        z = self.recurrent(images)
        temporal, spatial = self.attention_of(z)
        mask = temporal.unsqueeze(2) * spatial.unsqueeze(1)  # equation 8: (row, frame, 2 x hidden), sums to one
        return torch.tanh(self.mask_scale * mask * z).sum(1)

    def attention(self, images: Tensor) -> Tensor:
        """Temporal attention weights: (row, frame)."""
        return self.attention_of(self.recurrent(images))[0]

    def classify(self, embedding: Tensor) -> Tensor:
        """Logits of an embedding: (row, class)."""
        return self.output(embedding)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))
