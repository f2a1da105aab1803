"""How a network is trained; each model file names its paper's values in ``TRAINING``, the rest stands here."""

from dataclasses import dataclass
from typing import Literal

from asctool.errors import UsageError


@dataclass(frozen=True)
class Settings:
    """Training, independent of network and features."""

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Literal["adam", "amsgrad", "sgd"] = "adam"
    momentum: float = 0.9  # of sgd, Nesterov's
    weight_decay: float = 0.0  # on weights only: biases and normalisation layers keep theirs
    schedule: Literal["constant", "step", "cosine"] = "constant"
    cycle_epochs: int = 0  # of schedule cosine: after so many epochs the rate begins anew; 0: once
    least_rate: float = 0.0  # of schedule cosine: where a cycle ends
    drop_at: tuple[float, ...] = ()  # of schedule step: shares of the epochs at which the rate falls
    drop_factor: float = 0.1
    loss: Literal["kl", "bce"] = "kl"  # bce: each label by itself, of clips with several labels or none
    mix: str = "none"  # none, or a transform that mixes rows: between_class, mixup
    mix_alpha: float = 0.2  # of mixup
    mix_from_epoch: int = 1  # epochs before it are not mixed
    crop_frames: tuple[int, ...] = ()  # fewest and most frames of a random crop; afterwards slices of the fewest
    widest_band_mask: int = 0  # bands; one mask a row; 0: none
    gain_db: float = 0.0  # each row is louder or softer by up to this; of logarithmic features
    class_weights: Literal["none", "balanced"] = "none"
    rows_per_epoch: int = 0  # 0: as many as there are training rows
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 where the processor computes in it
    freeze_batchnorm: bool = False  # batch normalisation goes by the statistics it has (of --init-from) and keeps them
    sync_batchnorm: bool = False  # on CUDA: batch statistics are those of all torchrun's processes, not of each
    capture: Literal["auto", "none"] = "auto"  # auto: on CUDA a step is recorded as a graph where that gives the same
    select: Literal["last", "valid", "test"] = "last"  # which epoch's weights are kept
    patience: int = 0  # epochs without a better validation accuracy until training ends; 0: never
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate", "drop_factor", "mix_alpha"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: must be above 0")
        for name in (
            *("weight_decay", "momentum", "rows_per_epoch", "patience", "seed", "cycle_epochs", "least_rate"),
            *("widest_band_mask", "gain_db"),
        ):
            if getattr(self, name) < 0:
                raise UsageError(f"{name}={getattr(self, name)}: must not be negative")
        if self.least_rate > self.learning_rate:
            raise UsageError(f"least_rate={self.least_rate}: above the learning rate of {self.learning_rate}")
        if self.mix_from_epoch < 1:
            raise UsageError(f"mix_from_epoch={self.mix_from_epoch}: epochs are counted from 1")
        if self.crop_frames and not (len(self.crop_frames) == 2 and 0 < self.crop_frames[0] <= self.crop_frames[1]):
            raise UsageError(f"crop_frames={list(self.crop_frames)}: two numbers, the fewest and the most")
        if self.batch_size < 2:
            raise UsageError("batch_size=1: batch normalisation needs two rows at least")
        if self.patience and self.select != "valid":
            raise UsageError("patience needs --select valid: it waits for the validation accuracy to rise")
        if any(not 0 < share < 1 for share in self.drop_at):
            raise UsageError(f"drop_at={list(self.drop_at)}: shares of the epochs, between 0 and 1")


def learning_rate(settings: Settings, epoch: int) -> float:
    """The rate of an epoch, counted from 0."""
    done = epoch / settings.epochs
    if settings.schedule == "step":
        return settings.learning_rate * settings.drop_factor ** sum(done >= share for share in settings.drop_at)
    if settings.schedule == "cosine":
        from math import cos, pi

        if settings.cycle_epochs:
            done = epoch % settings.cycle_epochs / settings.cycle_epochs
        return settings.least_rate + (settings.learning_rate - settings.least_rate) * 0.5 * (1 + cos(pi * done))
    return settings.learning_rate
