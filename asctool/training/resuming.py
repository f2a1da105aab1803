"""Going on from a checkpoint that may come from anybody: whether it is of this training is looked at first."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from asctool.errors import IntegrityError, UsageError
from asctool.training.trainer import Trainer


def restore(trainer: Trainer, state: Any) -> None:
    """Go on from what ``train`` saved; IntegrityError where any part of it is of no such training.

    UsageError where other processes than so many made it: batches were cut between them, and would not be again.
    """
    try:
        n_processes = state.get("processes", 1)
        own = {name: value.shape for name, value in trainer.network.state_dict().items()}
        groups = _settings_of(trainer)
        for weights in (state["trainer"]["network"], state["progress"]["best_weights"]):
            if weights is not None and {name: value.shape for name, value in weights.items()} != own:
                raise ValueError("weights of another network")
        _check_progress(state["progress"], state["trainer"]["epoch"])
        if not _is_count(state["threads"]) or not _is_count(n_processes):
            raise ValueError("no number of threads or processes")
        if n_processes != trainer.processes.size:
            raise _other_number(n_processes, trainer.processes.size)
        trainer.restore(state["trainer"])
        if _settings_of(trainer) != groups or not _belongs(trainer):
            raise ValueError("the state of another optimiser")
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, IndexError) as error:
        reason = str(error).partition("\n")[0]  # torch says more than anybody asked
        raise IntegrityError(f"a checkpoint is of no such training ({reason})") from error


def _other_number(begun: int, now: int) -> UsageError:
    """What is said to those who go on with another number of processes."""
    how = f"with torchrun --nproc-per-node {begun} (on one machine)" if begun > 1 else "without torchrun"
    return UsageError(f"was begun by {begun} processes, and this is {now}: go on {how}, or begin anew with --force")


def _check_progress(progress: Mapping[str, Any], epoch: Any) -> None:
    history = progress["history"]
    if not _is_count(epoch) or [row["epoch"] for row in history] != list(range(1, len(history) + 1)):
        raise ValueError("a history that is none")
    if len(history) != epoch:
        raise ValueError("a history of other epochs")
    if any(list(row) != list(history[0]) or not all(map(_is_number, row.values())) for row in history):
        raise ValueError("a history that is none")
    if not _is_number(progress["best"]) or not _is_count(progress["best_epoch"]) or len(progress) != 4:
        raise ValueError("no best epoch")


def _settings_of(trainer: Trainer) -> list[dict[str, Any]]:
    """What an optimiser was made with; the learning rate is set anew in every epoch."""
    return [
        {name: value for name, value in group.items() if name not in ("params", "lr", "initial_lr")}
        for group in trainer.optimizer.param_groups
    ]


def _belongs(trainer: Trainer) -> bool:
    """Whether every weight has the moments of its optimiser, each a tensor of real numbers of the weight's shape."""
    optimizer = trainer.optimizer
    return all(
        set(optimizer.state[weight]) == _moments(optimizer, group)
        and all(_is_moment(name, value, weight) for name, value in optimizer.state[weight].items())
        for group in optimizer.param_groups
        for weight in group["params"]
    )


def _moments(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> set[str]:
    if isinstance(optimizer, torch.optim.SGD):
        return {"momentum_buffer"} if group["momentum"] else set()
    return {"step", "exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])}


def _is_moment(name: str, value: Any, weight: Tensor) -> bool:
    shape = torch.Size() if name == "step" else weight.shape
    if name == "step" and not (isinstance(value, Tensor) and value.numel() == 1 and value.item() >= 1):
        return False
    return (
        isinstance(value, Tensor)
        and value.shape == shape
        and value.is_floating_point()
        and value.layout == torch.strided
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
