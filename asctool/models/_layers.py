"""Layers that several networks share. Images are (row, channel, band, frame), waveforms (row, channel, sample)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from asctool.errors import UsageError


@dataclass(frozen=True)
class InputShape:
    """What one row of the features looks like, and how long the tag vector beside it is."""

    channels: int
    bands: int  # 0: a waveform, whose frames are samples
    frames: int
    tags: int = 0  # 0: nothing beside it

    @classmethod
    def of(cls, row: tuple[int, ...], tags: int = 0) -> "InputShape":
        """The shape of a row: (channel, band, frame), or (channel, sample)."""
        return cls(row[0], row[1] if len(row) == 3 else 0, row[-1], tags)

    @property
    def row(self) -> tuple[int, ...]:
        """The inverse of :meth:`of`."""
        return (self.channels, self.bands, self.frames) if self.bands else (self.channels, self.frames)

    def zeros(self, n_rows: int) -> tuple[Tensor, ...]:
        """What a network of this input is called with: rows of zeros, and tags where it takes them."""
        tags = [torch.zeros(n_rows, self.tags)] if self.tags else []
        return torch.zeros(n_rows, *self.row), *tags


class PhanConvolutions(nn.Module):
    """Table 1 of Phan 2019: three times convolution, ReLU, batch normalisation, pooling 4 x 1 over bands, dropout.

    (row, channel, band, frame) -> (row, filters[-1], band // 64, frame).
    """

    KERNELS = ((5, 5), (3, 3), (2, 2))
    POOL_BANDS = 4

    def __init__(self, channels: int, filters: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        blocks = []
        for kernel, n_filters in zip(self.KERNELS, filters):
            blocks += [
                *_same_convolution(channels, n_filters, kernel),
                nn.ReLU(),
                nn.BatchNorm2d(n_filters),
                nn.MaxPool2d((self.POOL_BANDS, 1)),
                nn.Dropout(dropout),
            ]
            channels = n_filters
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(images)

    @classmethod
    def bands_left(cls, shape: InputShape) -> int:
        """Bands after the three poolings; UsageError when none are left."""
        need = cls.POOL_BANDS ** len(cls.KERNELS)
        if shape.bands < need:
            raise UsageError(f"features of {shape.bands} bands are too few for this network: it pools them {need} to 1")
        return shape.bands // need


def _same_convolution(channels: int, filters: int, kernel: tuple[int, int]) -> list[nn.Module]:
    """A convolution that keeps the size; an even kernel's odd zero goes after the image (TensorFlow's SAME)."""
    odd = [size % 2 for size in kernel]
    if all(odd):
        return [nn.Conv2d(channels, filters, kernel, padding=(kernel[0] // 2, kernel[1] // 2))]
    before, after = [(size - 1) // 2 for size in kernel], [size // 2 for size in kernel]
    return [nn.ZeroPad2d((before[1], after[1], before[0], after[0])), nn.Conv2d(channels, filters, kernel)]


def additive_scores(vectors: Tensor, hidden: nn.Linear, score: nn.Linear) -> Tensor:
    """v . tanh(W x + b) for each vector x: (row, place, dim) -> (row, place)."""
    return score(torch.tanh(hidden(vectors))).squeeze(-1)
