"""A network out of a bundle, where it computes, and how its rows come from recordings."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from asctool.errors import IntegrityError
from asctool.features import _plan
from asctool.training import devices, inference, loading
from asctool.training.loading import Trained


class ReadyNetwork:
    """A network that rows of new recordings are given to; ``taggers``: networks whose tags stand beside each row."""

    def __init__(self, described: Mapping[str, Any], weights: Mapping[str, np.ndarray], place: torch.device) -> None:
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        trained: Trained = loading.assemble(described, tensors, "a network of the bundle")
        self.taggers: tuple[int, ...] = tuple(described.get("taggers", ()))
        if bool(self.taggers) != bool(trained.shape.tags):
            raise IntegrityError("a network that takes tags goes without a tagger, or another one has one")
        features = trained.config["features"]
        self.shape = _row_shape(trained)
        self.plan = _plan.plan_of(features, described.get("denoise"), self.shape)
        training = trained.config["training"]
        self.is_tagger = training.get("loss", "kl") == "bce"
        self.tag_kind: inference.Kind = "tag" if self.is_tagger else "posterior"  # what stands for tags, as in extract
        self.slice_frames = inference.slice_frames(training.get("crop_frames", ()))
        self.normalization, self.place = trained.normalization, place
        self.network = devices.place(trained.network, place)
        self.classes = tuple(trained.config["classes"])
        self.n_tags = trained.shape.tags

    def compute(self, kind: inference.Kind, rows: np.ndarray, tags: np.ndarray | None = None) -> np.ndarray:
        """Embeddings, posteriors or tags of rows, in float32; ``tags`` (row, label) beside them.

        In bfloat16 a posterior changes by some 0.005 with the rows beside it and with the processor; here a recording
        gets the same answer in any company and on any machine.
        """
        return inference.compute(
            *(self.network, rows, self.normalization, kind, self.place),
            bfloat16=False,
            tags=tags,
            slice_frames=self.slice_frames,
        )

    def silence(self) -> np.ndarray:
        """A row of it."""
        return np.zeros((1, *self.shape), np.int16 if self.plan.dtype == "int16" else self.plan.dtype)


def _row_shape(trained: Trained) -> tuple[int, ...]:
    shape = trained.shape
    return (shape.channels, shape.bands, shape.frames) if shape.bands else (shape.channels, shape.frames)
