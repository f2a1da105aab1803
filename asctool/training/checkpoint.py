"""States as bytes: what ``torch.save`` writes, read back with ``weights_only=True``: data, never code."""

import hashlib
import io
from typing import Any

import torch
from torch import nn

from asctool.errors import IntegrityError


def encode(state: dict[str, Any]) -> bytes:
    """Tensors and plain values as the bytes of a file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def decode(data: bytes, device: torch.device) -> dict[str, Any]:
    """The inverse of :func:`encode`; IntegrityError for what holds anything but tensors and plain values."""
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:  # whatever a damaged or hostile file makes torch raise: there is no list of it
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise IntegrityError(f"a checkpoint cannot be read: {reason}") from error
    return state


def weights_hash(network: nn.Module) -> str:
    """sha256 over the names and values of all weights and batch statistics."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
