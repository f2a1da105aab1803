"""Networks at work: posteriors, embeddings or attention of many rows, in large batches, without gradients."""

from typing import Literal

import numpy as np
import torch
from torch import nn

from asctool.errors import UsageError
from asctool.training import devices
from asctool.training.examples import Normalization
from asctool.training.trainer import normaliser

Kind = Literal["embedding", "posterior", "attention"]
BATCH_ROWS = 256


def compute(
    network: nn.Module,
    features: np.ndarray,
    normalization: Normalization,
    kind: Kind,
    device: torch.device,
    bfloat16: bool = False,
) -> np.ndarray:
    """One kind of output for each row of ``features`` (row, channel, band, frame): (row, ...) float32."""
    function = _function(network, kind)
    normalise = normaliser(normalization, device)
    training = network.training
    network.eval()
    out = []
    with torch.inference_mode(), devices.autocast(device, bfloat16):
        for first in range(0, len(features), BATCH_ROWS):
            rows = normalise(torch.from_numpy(features[first : first + BATCH_ROWS]).to(device))
            if rows.ndim == 4:
                rows = rows.contiguous(memory_format=torch.channels_last)
            out.append(function(rows).float())
    network.train(training)
    if not out:
        raise UsageError("there are no rows to compute")
    return torch.cat(out).cpu().numpy()


def _function(network: nn.Module, kind: Kind):  # type: ignore[no-untyped-def]
    if kind == "posterior":
        return lambda rows: network(rows).float().softmax(1)
    name = {"embedding": "embed", "attention": "attention"}[kind]
    if not hasattr(network, name):
        raise UsageError(f"this network has no {kind}")
    return getattr(network, name)
