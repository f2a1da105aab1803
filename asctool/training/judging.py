"""How well a network does on a part of its fold while it is trained."""

import numpy as np

from asctool.evaluation import fusion, metrics
from asctool.storage import rows
from asctool.training import inference
from asctool.training.examples import Examples, Normalization
from asctool.training.trainer import Trainer


def judge(trainer: Trainer, part: Examples, normalization: Normalization, takes_tags: bool) -> dict[str, float]:
    """Accuracy of segments, and of clips by the product of their segments; of tags lwlrap by their mean."""
    is_tagged = trainer.settings.loss == "bce"
    outputs = _outputs(trainer, part, normalization, takes_tags)
    first, inverse, counts = np.unique(part.clips, return_index=True, return_inverse=True, return_counts=True)[1:]
    if is_tagged:
        clips = np.zeros((len(first), outputs.shape[1]))
        np.add.at(clips, inverse, outputs)
        found = metrics.lwlrap((part.targets[first] > 0).astype(np.int64), clips / counts[:, None])
        return {"clip_lwlrap": found.overall if any(found.labels) else 0.0}
    clips = fusion.segments_to_clips(outputs, part.clips, len(first), "product")
    segment = (outputs.argmax(1) == part.classes).mean()
    right = (clips.argmax(1) == part.classes[first]).mean()
    return {"segment_accuracy": float(segment), "clip_accuracy": float(right)}


def _outputs(trainer: Trainer, part: Examples, normalization: Normalization, takes_tags: bool) -> np.ndarray:
    """Posteriors or tags of every row, computed by all processes together and known to each."""
    processes, features, beside = trainer.processes, part.features, part.beside if takes_tags else None
    if processes.size > 1:
        own = processes.rows_of(len(part))
        features, beside = rows.take(features, own), None if beside is None else beside[own]
    outputs = inference.compute(
        trainer.network,
        features,
        normalization,
        "tag" if trainer.settings.loss == "bce" else "posterior",
        trainer.device,
        trainer.bfloat16,
        beside,
        inference.slice_frames(trainer.settings.crop_frames),
    )
    return processes.joined(outputs, len(part))
