"""One file a network: ``Config``, ``TRAINING`` (its paper's), ``Network(config, shape, n_classes)``.

A checkpoint is data; :func:`build` makes the network it belongs to.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asctool import registry

if TYPE_CHECKING:
    from torch import nn

    from asctool.models._layers import InputShape


def build(name: str, config: Any, shape: "InputShape", n_classes: int) -> "nn.Module":
    """A network by name, from its configuration (an instance, or a mapping of its fields)."""
    module = registry.load("models", name)
    if isinstance(config, Mapping):
        config = module.Config(**{key: tuple(v) if isinstance(v, list) else v for key, v in config.items()})
    network: nn.Module = module.Network(config, shape, n_classes)
    return network
