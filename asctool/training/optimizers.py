"""Losses and optimisers by name."""

import torch
from torch import Tensor, nn

from asctool.training.settings import Settings


def kl_divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """KL divergence of the network's distribution from the target's, one value a row (Phan 2019, equation 12)."""
    log_posteriors = logits.float().log_softmax(1)
    return (torch.xlogy(targets, targets) - targets * log_posteriors).sum(1)


def make(settings: Settings, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser; weight decay falls on weight matrices and filters only."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = device.type == "cuda"
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0, fused=fused
        )
    return torch.optim.Adam(groups, settings.learning_rate, amsgrad=settings.optimizer == "amsgrad", fused=fused)
