"""Networks at work: posteriors, tags, embeddings or attention of many rows, in large batches, without gradients."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from asctool.dsp import segments
from asctool.errors import UsageError
from asctool.storage.streaming import StreamedRows
from asctool.training import batches, devices
from asctool.training.examples import Normalization, block_rows
from asctool.training.trainer import normaliser

Kind = Literal["embedding", "posterior", "tag", "attention"]
LARGER = 4  # blocks of rows at a time on CUDA, which a single one leaves waiting


def slice_frames(crop_frames: Sequence[int]) -> int:
    """Frames of the slices of a network that was trained on random crops: as few as its shortest had; 0 without."""
    return crop_frames[0] if crop_frames else 0


def compute(
    network: nn.Module,
    features: np.ndarray | StreamedRows,
    normalization: Normalization,
    kind: Kind,
    device: torch.device,
    bfloat16: bool = False,
    tags: np.ndarray | None = None,
    slice_frames: int = 0,
) -> np.ndarray:
    """One kind of output for each row of ``features`` (row, channel, ..., frame): (row, ...) float32.

    ``tags`` (row, label) stand beside the rows. With ``slice_frames`` the output of a longer row is the mean over its
    slices in which something is heard.
    """
    function = _function(network, kind)
    if slice_frames and slice_frames < features.shape[-1]:
        function = _over_slices(function, slice_frames)
    beside = None if tags is None else torch.from_numpy(tags)
    step = block_rows(features) * (LARGER if device.type == "cuda" else 1)
    ranges = [(first, min(first + step, len(features))) for first in range(0, len(features), step)]
    normalise = normaliser(normalization, device)
    training = network.training
    network.eval()
    out = []
    with torch.inference_mode(), devices.autocast(device, bfloat16):
        for (first, end), stored in zip(ranges, _blocks(features, ranges)):
            rows = normalise(stored.to(device))
            if rows.ndim == 4:
                rows = rows.contiguous(memory_format=torch.channels_last)
            inputs = (rows,) if beside is None else (rows, beside[first:end].to(device))
            out.append(function(*inputs).float())
    network.train(training)
    if not out:
        raise UsageError("there are no rows to compute")
    return torch.cat(out).cpu().numpy()


def _blocks(features: np.ndarray | StreamedRows, ranges: list[tuple[int, int]]):  # type: ignore[no-untyped-def]
    def read(part: tuple[int, int]) -> Tensor:
        return torch.from_numpy(features[slice(*part)])

    return batches.ahead(read, ranges) if isinstance(features, StreamedRows) else map(read, ranges)


def _over_slices(function: Callable[..., Tensor], length: int) -> Callable[..., Tensor]:
    """The mean over slices of a row, the last one aligned to its end; a still slice counts where all are still."""

    def averaged(rows: Tensor, *beside: Tensor) -> Tensor:
        firsts = segments.starts(rows.shape[-1], length, length)
        slices = torch.stack([rows[..., first : first + length] for first in firsts], 1)
        heard = (slices != slices[..., :1]).flatten(2).any(2).float()
        heard = torch.where(heard.any(1, keepdim=True), heard, 1.0)
        joined = slices.flatten(0, 1)
        if joined.ndim == 4:
            joined = joined.contiguous(memory_format=torch.channels_last)
        out = function(joined, *(values.repeat_interleave(len(firsts), 0) for values in beside)).float()
        out = out.view(len(rows), len(firsts), *out.shape[1:])
        weights = heard.view(*heard.shape, *[1] * (out.ndim - 2))
        return (out * weights).sum(1) / weights.sum(1)

    return averaged


def _function(network: nn.Module, kind: Kind) -> Callable[..., Tensor]:
    if kind == "posterior":
        return lambda *inputs: network(*inputs).float().softmax(1)
    if kind == "tag":
        return lambda *inputs: network(*inputs).float().sigmoid()
    name = {"embedding": "embed", "attention": "attention"}[kind]
    if not hasattr(network, name):
        raise UsageError(f"this network has no {kind}")
    method: Callable[..., Tensor] = getattr(network, name)
    return method
