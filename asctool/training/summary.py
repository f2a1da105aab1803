"""What a network consists of: the shape of each layer's output and its number of parameters."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from asctool.models._layers import InputShape


@dataclass(frozen=True)
class Layer:
    """One layer of a network."""

    name: str
    kind: str
    output: tuple[int, ...]  # without the row axis
    parameters: int


def layers(network: nn.Module, shape: InputShape) -> list[Layer]:
    """The layers in the order they compute, seen in one forward pass of two rows of zeros."""
    out: list[Layer] = []

    def record(name: str, module: nn.Module):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            count = sum(p.numel() for p in module.parameters())
            out.append(Layer(name, type(module).__name__, tuple(tensor.shape[1:]), count))

        return hook

    handles = [
        module.register_forward_hook(record(name, module))
        for name, module in network.named_modules()
        if not list(module.children()) and not isinstance(module, nn.Dropout | nn.ReLU)
    ]
    training = network.training
    with torch.inference_mode():
        network.eval()(*shape.zeros(2))
    network.train(training)
    for handle in handles:
        handle.remove()
    return out


def n_parameters(network: nn.Module) -> int:
    """Trained numbers in all."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
