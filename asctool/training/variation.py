"""Rows varied afresh in every batch, on the device: crops, masks of bands, gain. Rows are (row, channel, ..., frame).

Drawn from torch's generator, which the trainer seeds from (seed, epoch).
"""

from math import log

import torch
from torch import Tensor

NEPERS_PER_DB = log(10) / 10  # of a natural logarithm of power


def crop_length(crop_frames: tuple[int, ...], n_frames: int) -> int:
    """How many frames the crops of a batch have, uniform from the fewest to the most; no more than there are."""
    fewest, most = crop_frames
    return min(n_frames, int(torch.randint(fewest, most + 1, ())))


def crop(rows: Tensor, length: int) -> Tensor:
    """A part of each row, placed uniformly where something is heard: silence that pads a short clip is passed by."""
    room = (filled_frames(rows) - length).clamp(min=0)
    firsts = (torch.rand(len(rows), device=rows.device) * (room + 1)).long()
    places = firsts[:, None] + torch.arange(length, device=rows.device)
    places = places.view(len(rows), *[1] * (rows.ndim - 2), length)
    return rows.gather(-1, places.expand(*rows.shape[:-1], length))


def filled_frames(rows: Tensor) -> Tensor:
    """Frames of each row up to the last that differs from the one at its end, and one more; all of a still row."""
    differs = (rows != rows[..., -1:]).flatten(1, -2).any(1)
    last = torch.where(differs, torch.arange(1, rows.shape[-1] + 1, device=rows.device), 0).amax(1)
    return torch.where(last > 0, last + 1, rows.shape[-1])


def mask_bands(images: Tensor, widest: int) -> Tensor:
    """One mask a row, 0 to ``widest`` bands wide, filled with 0: the mean of normalised images."""
    n_rows, n_bands = len(images), images.shape[2]
    widths = torch.randint(0, min(widest, n_bands) + 1, (n_rows, 1), device=images.device)
    firsts = (torch.rand(n_rows, 1, device=images.device) * (n_bands - widths + 1)).long()
    bands = torch.arange(n_bands, device=images.device)
    masked = (bands >= firsts) & (bands < firsts + widths)
    return images.masked_fill(masked[:, None, :, None], 0.0)


def gain(images: Tensor, most_db: float) -> Tensor:
    """Logarithmic features of each row as of a recording up to ``most_db`` louder or softer."""
    decibels = (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1) * most_db
    return images.float() + decibels * NEPERS_PER_DB
