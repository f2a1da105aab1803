"""What a network computes, and what a device can: multiplications and additions a second."""

import time
from statistics import median
from typing import Any

import torch
from torch import nn

from asctool.models._layers import InputShape

TRAINING = 3  # times the forward pass: backward computes gradients of inputs and of weights


def of_a_row(network: nn.Module, shape: InputShape) -> float:
    """Operations of the forward pass of one row in convolutions, dense and recurrent layers: nearly all there are."""
    counted: list[float] = []
    handles = [
        module.register_forward_hook(lambda m, given, out: counted.append(_of(m, given[0], out)))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.GRU)
    ]
    training = network.training
    with torch.inference_mode():
        network.eval()(*shape.zeros(2))
    network.train(training)
    for handle in handles:
        handle.remove()
    return sum(counted) / 2


def _of(module: nn.Module, given: torch.Tensor, out: Any) -> float:
    if isinstance(module, nn.Conv2d):
        return 2.0 * out.numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return 2.0 * out.numel() * module.in_features
    assert isinstance(module, nn.GRU)
    steps = given.shape[0] * given.shape[1]
    return 2.0 * steps * sum(weight.numel() for name, weight in module.named_parameters() if "weight" in name)


def of_a_product(device: torch.device, dtype: torch.dtype, size: int, repeats: int = 10) -> float:
    """Operations a second of a product of two square matrices: what can be had at most."""
    first, second = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for repeat in range(-2, repeats):
        wait(device)
        start = time.perf_counter()
        first @ second
        wait(device)
        if repeat >= 0:
            seconds.append(time.perf_counter() - start)
    return 2.0 * size**3 / median(seconds)


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
