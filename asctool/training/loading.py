"""A trained network out of its file, which may come from anybody: nothing is allocated that the file does not hold."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration
from torch.overrides import TorchFunctionMode

from asctool import models, registry
from asctool.errors import AsctoolError, IntegrityError
from asctool.models._layers import InputShape
from asctool.storage import settings
from asctool.training import checkpoint
from asctool.training.examples import Normalization

CPU = torch.device("cpu")
MAX_SIZE = 1 << 20  # of a layer, or number of layers: a network may compute with it before anything is checked
MODULES_PER_WEIGHT = 100  # of a network, at most, and a thousand: most layers have weights
AGAIN = "train it again, or get it from where it came"


@dataclass(frozen=True)
class Trained:
    """A network with its weights, and what is needed to use it."""

    network: nn.Module  # on the CPU
    config: dict[str, Any]  # of the run: model, network, classes, fold, features, training
    shape: InputShape  # of a row of its features
    normalization: Normalization
    protocol: dict[str, Any]  # which subset chose the epoch


def load(data: bytes, where: object) -> Trained:
    """The network in the bytes of a ``model.pt``; IntegrityError where it is not what ``train`` writes.

    The network is first sketched without memory: a configuration that does not belong to the weights is refused before
    it takes any.
    """
    saved = _decode(data, where)
    weights = _weights(saved, len(data), where)
    try:
        described = json.loads(saved["description"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: says nothing of its network ({error}); {AGAIN}") from error
    return assemble(described, weights, where)


def assemble(described: Any, weights: Mapping[str, Tensor], where: object) -> Trained:
    """The network that a run describes, with its weights; IntegrityError where they do not agree."""
    try:
        if not all(type(size) is int and size >= 0 for size in described["shape"].values()):
            raise ValueError("a shape of rows that is none")
        config, shape = described["config"], InputShape(**described["shape"])
        normalization = _normalization(described["normalization"], shape)
        n_classes = len(_texts(config["classes"]))
        own = settings.build(registry.load("models", config["model"]).Config, config["network"])
        _check_sizes(vars(own).values())
        with torch.device("meta"), _Undrawn(), _no_larger_than(len(weights)):
            sketch = models.build(config["model"], own, shape, n_classes)
        _check_shapes(sketch.state_dict(), weights)
        network = models.build(config["model"], own, shape, n_classes)
        network.load_state_dict(weights)
        return Trained(network, config, shape, normalization, dict(described["protocol"]))
    except (AsctoolError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, RecursionError) as error:
        reason = str(error).partition("\n")[0]  # torch says more than anybody asked
        raise IntegrityError(f"{where}: its description and its weights do not agree ({reason}); {AGAIN}") from error


def weights(data: bytes, where: object) -> dict[str, Tensor]:
    """The weights in the bytes of a ``model.pt`` by name; IntegrityError where they are no plain numbers."""
    return _weights(_decode(data, where), len(data), where)


def _decode(data: bytes, where: object) -> Any:
    try:
        return checkpoint.decode(data, CPU)
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {error}") from error


def _weights(saved: Any, n_bytes: int, where: object) -> dict[str, Tensor]:
    """Tensors by name: dense, finite, no larger than their file, for a view can show one number a million times."""
    found = saved.get("weights") if isinstance(saved, Mapping) else None
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and value.device == CPU
        for name, value in found.items()
    ):
        raise IntegrityError(f"{where}: holds no weights; {AGAIN}")
    needed = sum(value.numel() * value.element_size() for value in found.values())
    if needed > n_bytes:
        raise IntegrityError(f"{where}: {n_bytes} bytes promise {needed} of weights; {AGAIN}")
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        raise IntegrityError(f"{where}: holds weights that are not finite; {AGAIN}")
    return dict(found)


def _normalization(values: Mapping[str, Any], shape: InputShape) -> Normalization:
    statistics = Normalization(tuple(values["mean"]), tuple(values["deviation"]))
    numbers = (*statistics.mean, *statistics.deviation)
    if len(statistics.mean) != shape.channels or len(statistics.deviation) != shape.channels:
        raise ValueError(f"normalisation of {len(statistics.mean)} channels, {shape.channels} are there")
    if (
        not all(isinstance(number, float) and math.isfinite(number) for number in numbers)
        or min(numbers[shape.channels :]) <= 0
    ):
        raise ValueError("normalisation by what is no number above 0")
    return statistics


def _check_sizes(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, tuple):
            _check_sizes(value)
        elif isinstance(value, int) and abs(value) > MAX_SIZE:
            raise ValueError(f"a layer of {value}")


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("classes that are no list of texts")
    return values


def _check_shapes(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    if set(expected) != set(found):
        odd = sorted(set(expected) ^ set(found))
        raise ValueError(f"weights that are there on one side only: {', '.join(odd[:3])}")
    for name, value in expected.items():
        if value.shape != found[name].shape:
            raise ValueError(f"{name} is {list(found[name].shape)}, where {list(value.shape)} belongs")


class _Undrawn(TorchFunctionMode):
    """No normal distributions are drawn: of tensors without memory torch would take a second to prepare for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") == "normal_":
            return args[0] if args else given["tensor"]
        return func(*args, **given)


@contextmanager
def _no_larger_than(n_weights: int) -> Iterator[None]:
    """ValueError as soon as a network gets more parts than so many weights can belong to, such as 10^9 layers."""
    left = {"weights": 4 * n_weights, "modules": MODULES_PER_WEIGHT * n_weights + 1000}

    def count(kind: str) -> None:
        left[kind] -= 1
        if left[kind] < 0:
            raise ValueError(f"a network of more {kind} than the file has")

    with ExitStack() as stack:
        for register, kind in (
            (registration.register_module_parameter_registration_hook, "weights"),
            (registration.register_module_buffer_registration_hook, "weights"),
            (registration.register_module_module_registration_hook, "modules"),
        ):
            handle = register(lambda module, name, value, kind=kind: count(kind))
            stack.callback(handle.remove)
        yield
