"""The training loop: one epoch after the other, its whole state at hand between them.

Rows stay on the device in their stored precision where they find room, or are read ahead of it; batches are normalised,
mixed and judged there, and the host waits for the device once an epoch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asctool.errors import DataError, UsageError
from asctool.training import batches, devices, epochs, optimizers, variation
from asctool.training.examples import Examples, Normalization
from asctool.training.settings import Settings, learning_rate


@dataclass(frozen=True)
class EpochResult:
    """What an epoch came to."""

    epoch: int  # counted from 1
    loss: float  # mean over the rows
    learning_rate: float
    accuracy: float  # share of rows whose likeliest class is the target's; of mixed rows where rows are mixed


class Trainer:
    """A network in training. ``run_epoch`` goes on by one epoch; ``state`` and ``restore`` are exact."""

    def __init__(
        self,
        network: nn.Module,
        examples: Examples,
        normalization: Normalization,
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.settings = settings
        self.device = device
        self.network = devices.place(network, device)
        self.optimizer = optimizers.make(settings, self.network, device)
        self.bfloat16 = devices.use_bfloat16(settings.precision, device)
        self.source = batches.source(examples.features, device)
        self.targets = torch.from_numpy(examples.targets).to(device)
        self.beside = None if examples.beside is None else torch.from_numpy(examples.beside).to(device)
        self.heads = examples.beside if examples.beside is not None and examples.beside.ndim == 1 else None
        self.classes = examples.classes
        _check_variation(settings, examples)
        self.row_weights = _row_weights(examples, settings).to(device)
        self.normalise = normaliser(normalization, device)
        self.mixing = epochs.mixing(settings.mix) if settings.mix != "none" else None
        self.loss = optimizers.LOSSES[settings.loss]
        self.epoch = 0

    def run_epoch(self, on_batch: Callable[[int], None] = lambda rows: None) -> EpochResult:
        """Train one epoch; ``on_batch`` is told the rows of each batch. DataError when the loss is not finite."""
        rate = learning_rate(self.settings, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        plan = epochs.draw(self.settings, self.epoch, self.classes, self.heads)
        on_device = [None if v is None else torch.from_numpy(v).to(self.device) for v in _fields(plan)]
        sums = torch.zeros(2, device=self.device)
        self.network.train()
        ranges = epochs.batch_ranges(len(plan.rows), self.settings.batch_size)
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(hash_seed(self.settings.seed, self.epoch))  # of dropout
            for (first, end), pair in zip(ranges, self.source(plan.rows, plan.partners, ranges)):
                part = [None if v is None else v[first:end] for v in on_device]
                sums += self._step(*self._batch(pair, *part))  # type: ignore[arg-type]
                on_batch(end - first)
        self.epoch += 1
        loss, correct = (sums / max(1, sum(end - first for first, end in ranges))).tolist()
        if not np.isfinite(loss):
            raise DataError(f"epoch {self.epoch}: the loss is not finite; lower the learning rate ({rate:g})")
        return EpochResult(self.epoch, loss, rate, correct)

    def _batch(
        self, pair: batches.Pair, rows: Tensor, partners: Tensor | None, ratios: Tensor | None
    ) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        own, other = pair
        crop_frames = self.settings.crop_frames
        length = variation.crop_length(crop_frames, own.shape[-1]) if crop_frames else own.shape[-1]
        features, targets = self._prepared(own, length), self.targets[rows]
        beside = None if self.beside is None else self.beside[rows]
        if self.mixing is not None and other is not None and partners is not None and ratios is not None:
            shape = (-1,) + (1,) * (features.ndim - 1)
            features = self.mixing.apply(features, self._prepared(other, length), ratios.view(shape))
            targets = self.mixing.apply_targets(targets, self.targets[partners], ratios.view(-1, 1))
            if beside is not None and self.beside is not None and self.heads is None:
                beside = self.mixing.apply_targets(beside, self.beside[partners], ratios.view(-1, 1))
        if self.settings.widest_band_mask:
            features = variation.mask_bands(features, self.settings.widest_band_mask)
        if features.ndim == 4:
            features = features.contiguous(memory_format=torch.channels_last)
        return (features,) if beside is None else (features, beside), targets, self.row_weights[rows]

    def _prepared(self, rows: Tensor, length: int) -> Tensor:
        """Rows as stored, cropped, louder or softer, normalised."""
        if length < rows.shape[-1]:
            rows = variation.crop(rows, length)
        if self.settings.gain_db:
            rows = variation.gain(rows, self.settings.gain_db)
        return self.normalise(rows)

    def _step(self, inputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with devices.autocast(self.device, self.bfloat16):
            logits = self.network(*inputs)
        losses = self.loss(logits, targets) * weights
        losses.mean().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        correct = optimizers.hits(logits.detach(), targets, self.settings.loss)
        return torch.stack([losses.detach().sum(), correct.sum().float()])

    def state(self) -> dict[str, Any]:
        """All that going on needs: weights and batch statistics, the optimiser's moments, the position."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]


def normaliser(normalization: Normalization, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function that centres and scales (row, channel, ...) on the device, in float32."""
    mean = torch.tensor(normalization.mean, device=device)
    scale = 1 / torch.tensor(normalization.deviation, device=device)

    def normalise(features: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (features.ndim - 2)
        return (features.float() - mean.view(shape)) * scale.view(shape)

    return normalise


def hash_seed(seed: int, epoch: int) -> int:
    """A seed for torch out of (seed, epoch)."""
    return int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1, np.uint64)[0] >> 1)


def _fields(plan: epochs.Epoch) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    return plan.rows, plan.partners, plan.ratios


def _check_variation(settings: Settings, examples: Examples) -> None:
    """UsageError for what waveforms do not have."""
    if examples.features.ndim == 3 and (settings.widest_band_mask or settings.gain_db):
        raise UsageError("widest_band_mask and gain_db are for spectra; waveforms have no bands and are no logarithms")


def _row_weights(examples: Examples, settings: Settings) -> Tensor:
    weights = np.ones(len(examples), np.float32)
    if settings.class_weights == "balanced":
        count = examples.targets.sum(0)
        of_class = np.divide(count.sum(), count * np.count_nonzero(count), out=np.zeros_like(count), where=count > 0)
        weights = (examples.targets @ of_class).astype(np.float32)
    return torch.from_numpy(weights)
