"""What training is measured on: networks and rows of the papers, and the loop that a tutorial would write.

att_crnn on 2 x 64 x 80, between-class mixing, batches of 100 (LITIS Rouen); acrnn on 2 x 128 x 128, mixup, batches of
64 (ESC-50). Rows are made: noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from asctool import models, registry
from asctool.models._layers import InputShape
from asctool.stages.train import configure
from asctool.training.examples import Examples, Normalization
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer


@dataclass(frozen=True)
class Case:
    """A network with rows of its paper's shape."""

    model: str
    shape: InputShape
    n_classes: int
    mix: str
    n_rows: int  # of an epoch
    batch_size: int = 0  # 0: the paper's

    @property
    def still(self) -> Normalization:
        """Of noise with mean 0 and deviation 1."""
        return Normalization((0.0,) * self.shape.channels, (1.0,) * self.shape.channels)

    def settings(self, **more: object) -> Settings:
        """The paper's, with mixing."""
        size = {"batch_size": self.batch_size} if self.batch_size else {}
        settings: Settings = configure(self.model, {"mix": self.mix, **size, **more}).training
        return settings


LITIS = Case("att_crnn", InputShape(2, 64, 80), 19, "between_class", 36_300)  # 20 splits of as many segments
ESC50 = Case("acrnn", InputShape(2, 128, 128), 50, "mixup", 9_600)


def of(case: Case, n_rows: int, batch_size: int = 0) -> Case:
    """The case with fewer rows, and smaller batches."""
    return replace(case, n_rows=n_rows, batch_size=batch_size)


def made(case: Case, dtype: type = np.float32) -> Examples:
    """Rows of noise, classes in turn."""
    shape = (case.n_rows, case.shape.channels, case.shape.bands, case.shape.frames)
    features = np.random.default_rng(0).standard_normal(shape, np.float32).astype(dtype)
    classes = np.arange(case.n_rows) % case.n_classes
    return Examples(features, np.eye(case.n_classes, dtype=np.float32)[classes], np.arange(case.n_rows))


def network_of(case: Case) -> nn.Module:
    """The network as its paper has it, from one seed."""
    torch.manual_seed(0)
    return models.build(case.model, registry.load("models", case.model).Config(), case.shape, case.n_classes)


def trainer_of(case: Case, examples: Examples, device: torch.device, **more: object) -> Trainer:
    """asctool's own engine with the paper's settings."""
    return Trainer(network_of(case), examples, case.still, case.settings(**more), device)


def plain_loop(
    case: Case, examples: Examples, device: torch.device, bfloat16: bool = False, n_workers: int = 0
) -> Callable[[], None]:
    """An epoch as a tutorial writes it: a DataLoader, mixing within the batch, the loss read at every step."""
    network, training = network_of(case).to(device), case.settings()
    data = TensorDataset(torch.from_numpy(examples.features), torch.from_numpy(examples.targets))
    loader = DataLoader(
        data,
        training.batch_size,
        shuffle=True,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=device.type == "cuda",
    )
    rate = training.learning_rate
    optimizer = (
        torch.optim.SGD(network.parameters(), rate, momentum=training.momentum, nesterov=True)
        if training.optimizer == "sgd"
        else torch.optim.Adam(network.parameters(), rate)
    )
    rng = np.random.default_rng(0)

    def step(features: Tensor, targets: Tensor) -> None:
        features, targets = features.to(device).float(), targets.to(device)
        partners = torch.randperm(len(features), device=device)
        share = float(rng.uniform())
        mixed = share * features + (1 - share) * features[partners]
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = network(mixed)
        loss = nn.functional.cross_entropy(logits.float(), share * targets + (1 - share) * targets[partners])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    def epoch() -> None:
        network.train()
        for features, targets in loader:
            step(features, targets)

    return epoch
