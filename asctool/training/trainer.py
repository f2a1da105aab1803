"""The training loop: one epoch after the other, its whole state at hand between them.

Rows stay on the device in their stored precision where they find room, or are read ahead of it; batches are normalised,
mixed and judged there, and the host waits for the device once an epoch. Of several processes each computes its part of
every batch; the gradient is that of the whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asctool.errors import DataError, UsageError
from asctool.training import batches, capture, devices, epochs, optimizers, variation
from asctool.training.distributed import ALONE, Processes
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
        processes: Processes = ALONE,
    ) -> None:
        _check_processes(settings, device, processes)
        self.settings = settings
        self.device = device
        self.processes = processes
        if settings.sync_batchnorm and processes.size > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        _freeze_idle_heads(network, examples)
        self.network = devices.place(network, device)
        self.wrapped = processes.wrapped(self.network)  # the same, with gradients of all processes
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
        self.gradients = self._captured()
        self.epoch = 0

    def run_epoch(self, on_batch: Callable[[int], None] = lambda rows: None) -> EpochResult:
        """Train one epoch; ``on_batch`` is told the rows of each batch. DataError when the loss is not finite."""
        rate = learning_rate(self.settings, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        plan = epochs.draw(self.settings, self.epoch, self.classes, self.heads)
        ranges = epochs.batch_ranges(len(plan.rows), self.settings.batch_size)
        n_rows = max(1, sum(end - first for first, end in ranges))
        plan, ranges, weights = self._own(plan, ranges)
        fields = (plan.rows, plan.partners, plan.ratios, weights)
        on_device = [None if v is None else torch.from_numpy(v).to(self.device) for v in fields]
        sums = torch.zeros(2, device=self.device)
        self._set_training()
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(hash_seed(self.settings.seed, self.epoch, self.processes.rank))  # of dropout
            for (first, end), pair in zip(ranges, self.source(plan.rows, plan.partners, ranges)):
                *part, share = [None if v is None else v[first:end] for v in on_device]
                inputs, targets, row_weights = self._batch(pair, *part)  # type: ignore[arg-type]
                sums += self.gradients(targets, row_weights, *([] if share is None else [share]), *inputs)
                self.optimizer.step()
                on_batch(end - first)
        self.epoch += 1
        if not self.settings.freeze_batchnorm:
            self.processes.average_statistics(self.network)
        loss, correct = (self.processes.add_up(sums) / n_rows).tolist()
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

    def _own(
        self, plan: epochs.Epoch, ranges: list[tuple[int, int]]
    ) -> tuple[epochs.Epoch, list[tuple[int, int]], np.ndarray | None]:
        """What this process computes of an epoch, and how much of a batch's loss each row is; None: all alike."""
        if self.processes.size == 1:
            return plan, ranges, None
        share = epochs.share(ranges, self.processes.rank, self.processes.size)
        own = (None if field is None else field[share.places] for field in (plan.rows, plan.partners, plan.ratios))
        return epochs.Epoch(*own), share.ranges, share.weights  # type: ignore[arg-type]

    def _set_training(self) -> None:
        """Dropout is on; batch normalisation gathers statistics unless it is frozen."""
        self.wrapped.train()
        if self.settings.freeze_batchnorm:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _captured(self) -> capture.Compute:
        """How gradients of a batch are computed: on CUDA as a recorded graph where batches are all of one shape."""
        if self.processes.size > 1:
            return self._shared_gradients
        if self.device.type != "cuda" or self.settings.capture == "none" or self.settings.crop_frames:
            return self._gradients
        way = capture.recorded(self.network, self.device)
        return capture.Captured(self._gradients, way, self.network, self.device)

    def _gradients(self, targets: Tensor, weights: Tensor, *inputs: Tensor) -> Tensor:
        """Gradients of the mean loss, left at the weights; the sum of losses and the number of hits."""
        losses, correct = self._losses(self.network, targets, weights, inputs)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        return torch.stack([losses.detach().sum(), correct.sum().float()])

    def _shared_gradients(self, targets: Tensor, weights: Tensor, share: Tensor, *inputs: Tensor) -> Tensor:
        """The same of one process's rows, each with its share of the whole batch's mean; 0 for what only fills up."""
        losses, correct = self._losses(self.wrapped, targets, weights, inputs)
        (losses * share).sum().backward()  # type: ignore[no-untyped-call]
        counts = share > 0
        return torch.stack([(losses.detach() * counts).sum(), (correct & counts).sum().float()])

    def _losses(
        self, network: nn.Module, targets: Tensor, weights: Tensor, inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        with devices.autocast(self.device, self.bfloat16):
            logits = network(*inputs)
        losses = self.loss(logits, targets) * weights
        return losses, optimizers.hits(logits.detach(), targets, self.settings.loss)

    def state(self) -> dict[str, Any]:
        """All that going on needs: weights and batch statistics, the optimiser's moments, the position."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "epoch": self.epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]


def _freeze_idle_heads(network: nn.Module, examples: Examples) -> None:
    """Keep heads that judge no row out of the training: optimisers and other processes would wait for their gradients.

    Where rows do not name their heads, the first judges them all.
    """
    named = examples.beside is not None and examples.beside.ndim == 1
    if getattr(network, "N_HEADS", 1) > 1 and not named:
        for head in list(network.heads)[1:]:  # type: ignore[arg-type]
            head.requires_grad_(False)


def normaliser(normalization: Normalization, device: torch.device) -> Callable[[Tensor], Tensor]:
    """A function that centres and scales (row, channel, ...) on the device, in float32."""
    mean = torch.tensor(normalization.mean, device=device)
    scale = 1 / torch.tensor(normalization.deviation, device=device)

    def normalise(features: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (features.ndim - 2)
        return (features.float() - mean.view(shape)) * scale.view(shape)

    return normalise


def hash_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """A seed for torch out of (seed, epoch, number of the process)."""
    entropy = [seed, epoch, 1, *([rank] if rank else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def _check_processes(settings: Settings, device: torch.device, processes: Processes) -> None:
    """UsageError for what several processes, or these, cannot do."""
    if settings.batch_size < 2 * processes.size:
        raise UsageError(
            f"batch_size={settings.batch_size}: too few for {processes.size} processes, each of which needs two rows"
        )
    if settings.sync_batchnorm and device.type != "cuda":
        raise UsageError(
            "sync_batchnorm=true: batch statistics are shared between processes on CUDA only; "
            "leave it out, so that each process has its own, or set freeze_batchnorm"
        )


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
