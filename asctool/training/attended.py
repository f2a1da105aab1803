"""Where a trained network looks: its attention to some clips."""

import numpy as np
import torch

from asctool import registry
from asctool.errors import UsageError
from asctool.storage.run import MODEL, Run
from asctool.training import devices, inference, loading

Rows = tuple[np.ndarray, np.ndarray]  # start of each row in seconds (row,), its array (row, ...)


def attend(run: Run, rows: dict[str, Rows], device: str = "cpu") -> dict[str, Rows]:
    """Attention weights (row, step) to each clip's features; empty where the network has none to show."""
    if not rows or not hasattr(registry.load("models", run.config["model"]).Network, "attention"):
        return {}
    trained = loading.load(run.model(), run.directory / MODEL)
    if trained.shape.tags:  # which are not at hand
        return {}
    place = devices.choose(device)
    bfloat16 = devices.use_bfloat16(trained.config["training"]["precision"], place)
    network = devices.place(trained.network, place)
    features = np.concatenate([array for _, array in rows.values()]).astype(np.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # beside other work, two that wait for each other took ten times as long for so few rows
    try:
        weights = inference.compute(network, features, trained.normalization, "attention", place, bfloat16)
    except UsageError:  # configured without any
        return {}
    finally:
        torch.set_num_threads(threads)
    ends = np.cumsum([len(start) for start, _ in rows.values()])
    return {clip_id: (start, part) for (clip_id, (start, _)), part in zip(rows.items(), np.split(weights, ends[:-1]))}
