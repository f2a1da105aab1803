"""One file a network: ``Config``, ``TRAINING`` (its paper's), ``TAKES``, ``Network(config, shape, n_classes)``.

``TAKES`` is the kind of store that its rows come from: ``feature`` or ``waveform``. ``Network`` computes logits
(row, class) of rows; ``embed`` and ``classify`` are its two halves. What stands beside a row comes second: a tag vector
where the configuration has ``tags`` and they are not ``none``, the number of a head where the network has ``N_HEADS``.
A checkpoint is data; :func:`build` makes the network it belongs to.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from asctool import registry

if TYPE_CHECKING:
    from torch import nn

    from asctool.models._layers import InputShape


def takes_tags(config: Any) -> bool:
    """Whether a network of this configuration is called with a tag vector beside each row."""
    return getattr(config, "tags", "none") != "none"


def build(name: str, config: Any, shape: "InputShape", n_classes: int) -> "nn.Module":
    """A network by name, from its configuration (an instance, or a mapping of its fields)."""
    module = registry.load("models", name)
    if isinstance(config, Mapping):
        config = module.Config(**{key: tuple(v) if isinstance(v, list) else v for key, v in config.items()})
    network: nn.Module = module.Network(config, shape, n_classes)
    return network
