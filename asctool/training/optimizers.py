"""Losses and optimisers by name."""

import torch
from torch import Tensor, nn

from asctool.training.settings import Settings


def kl_divergence(logits: Tensor, targets: Tensor) -> Tensor:
    """KL divergence of the network's distribution from the target's, one value a row (Phan 2019, equation 12)."""
    log_posteriors = logits.float().log_softmax(1)
    return (torch.xlogy(targets, targets) - targets * log_posteriors).sum(1)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the labels of each row of the cross-entropy of their sigmoids, one value a row."""
    return nn.functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(1)


def hits(logits: Tensor, targets: Tensor, loss: str) -> Tensor:
    """Whether the likeliest class of each row is its target's likeliest; with bce, whether it is one of its labels."""
    likeliest = logits.argmax(1)
    if loss == "kl":
        return likeliest == targets.argmax(1)
    found, best = targets.gather(1, likeliest[:, None]).squeeze(1), targets.amax(1)
    return (found == best) & (best > 0)


LOSSES = {"kl": kl_divergence, "bce": binary_cross_entropy}


def make(settings: Settings, network: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The optimiser; weight decay falls on weight matrices and filters only."""
    trained = [p for p in network.parameters() if p.requires_grad]
    weights = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    fused = device.type == "cuda"
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0, fused=fused
        )
    return torch.optim.Adam(groups, settings.learning_rate, amsgrad=settings.optimizer == "amsgrad", fused=fused)
