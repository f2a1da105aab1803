"""Runs and results as one bundle in memory: what predict uses, wherever it came from, and what bundle writes."""

import logging
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from asctool import __version__
from asctool.dsp import noise
from asctool.errors import DataError
from asctool.storage import bundle, lineage
from asctool.storage.bundle import Bundle
from asctool.storage.run import MODEL, Run
from asctool.training import loading

KEPT = (
    "config",
    "shape",
    "normalization",
    "protocol",
    "content",
    "channels",
    "denoise",
    "dataset",
)  # of a run's manifest
log = logging.getLogger("asctool")


def gather(paths: Sequence[Path]) -> Bundle:
    """Runs, results and bundles, each with all that it stands on, as one bundle in the order given."""
    found: list[Bundle] = []
    for are_artifacts, group in groupby(paths, Path.is_dir):
        together = list(group)  # artifacts share the networks that they have in common
        found += [_of_artifacts(together)] if are_artifacts else [bundle.read(path) for path in together]
    return bundle.joined(found)


def _of_artifacts(directories: Sequence[Path]) -> Bundle:
    found = lineage.collect(directories)
    weights = {
        f"network/{number}/{name}": _as_array(value, run)
        for number, run in enumerate(found.runs)
        for name, value in loading.weights(run.model(), run.directory / MODEL).items()
    }
    return Bundle(
        found.classes,
        tuple(_described(run, found.taggers.get(number)) for number, run in enumerate(found.runs)),
        tuple(found.steps),
        tuple(found.results),
        {**weights, **found.arrays},
        {"asctool": __version__, "python": platform.python_version(), "torch": str(torch.__version__)},
    )


def _as_array(value: Tensor, run: Run) -> np.ndarray:
    array: np.ndarray = value.numpy() if value.dtype != torch.bfloat16 else np.zeros(0, object)
    if array.dtype not in bundle.NAMES:
        raise DataError(f"{run.directory}: weights of {value.dtype} have no place in a bundle")
    return array


def _described(run: Run, taggers: Sequence[int] | None) -> dict[str, Any]:
    known = {name: run.manifest[name] for name in KEPT if name in run.manifest}
    if taggers:
        known["taggers"] = list(taggers)
    if "denoise" not in known:
        known["denoise"] = _guessed_denoise(run, known)
    return known


def _guessed_denoise(run: Run, known: Mapping[str, Any]) -> dict[str, Any] | None:
    """Runs did not say at first how their second channel was made; of a mono recording it can only be denoise's."""
    features, channels = known["config"]["features"], known["shape"]["channels"]
    own = channels // 2 if features["delta"] else channels
    if features["channels"] != "mono":
        raise DataError(f"{run.directory}: does not say what its {channels} channels are; featurize and train again")
    if own == 1:
        return None
    log.warning("%s: does not say how its second channel was denoised; denoise's defaults are taken", run.directory)
    return {"sample_rate": None, **asdict(noise.Config())}
