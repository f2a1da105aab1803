"""Networks for other runtimes: ONNX, from features as featurize writes them to embeddings and posteriors, or tags.

Rows are (row, channel, band, frame), or (row, channel, sample); normalisation is part of the graph.
"""

import io
import json
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asctool.errors import EnvironmentFailure, IntegrityError, UsageError
from asctool.storage.bundle import Bundle
from asctool.training import loading
from asctool.training.loading import Trained

OPSET = 17
TOLERANCE = 1e-4  # of a posterior; of an embedding, relative to its largest value. float32 on both sides
TRIED_ROWS = (1, 5)
MISSING = "ONNX needs more packages: pip install 'asctool[onnx]'"


class _Exported(nn.Module):
    """Normalisation, the network, softmax; of a tagger the logistic function of each label."""

    mean: Tensor
    scale: Tensor

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        ones = (1,) * (2 if trained.shape.bands else 1)
        self.network: Any = trained.network.eval()
        self.is_tagger = is_tagger(trained)
        self.register_buffer("mean", torch.tensor(trained.normalization.mean).view(1, -1, *ones))
        self.register_buffer("scale", 1 / torch.tensor(trained.normalization.deviation).view(1, -1, *ones))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (row, dimension) and posterior or tag (row, class)."""
        embedding = self.network.embed((features - self.mean) * self.scale)
        logits = self.network.classify(embedding)
        return embedding, logits.sigmoid() if self.is_tagger else logits.softmax(1)


def is_tagger(trained: Trained) -> bool:
    """Whether a network was trained to tell each label by itself."""
    return bool(trained.config.get("training", {}).get("loss") == "bce")


def export(bundle: Bundle, number: int) -> bytes:
    """The bytes of an ONNX file of one network; IntegrityError where onnxruntime computes something else.

    Torch's older exporter makes it: it keeps a GRU one operator, where the newer one unrolls it frame by frame.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise EnvironmentFailure(f"{MISSING} ({error})") from error
    described = bundle.networks[number]
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in bundle.part("network", number).items()}
    trained = loading.assemble(described, tensors, "a network of the bundle")
    if trained.shape.tags:
        raise UsageError(f"{trained.config['model']}: takes tags beside each row, which is not exported")
    module = _Exported(trained).eval()
    outputs = ("embedding", "tag" if module.is_tagger else "posterior")
    model = onnx.load_from_string(_traced(module, _examples(trained, 2), outputs))
    told = {"classes": trained.config["classes"], **{key: v for key, v in described.items() if key != "content"}}
    onnx.helper.set_model_props(model, {name: json.dumps(value, sort_keys=True) for name, value in told.items()})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for n_rows in TRIED_ROWS:
        _compare(session, module, _examples(trained, n_rows), outputs)
    return data


def _traced(module: nn.Module, example: Tensor, outputs: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    rows = {name: {0: "row"} for name in ("features", *outputs)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that the exporter is the older one
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            module,
            (example,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["features"],
            output_names=list(outputs),
            dynamic_axes=rows,
            opset_version=OPSET,
        )
    return buffer.getvalue()


def _examples(trained: Trained, n_rows: int) -> Tensor:
    """Rows distributed as the features of the training subset."""
    shape = trained.shape
    row = (shape.channels, shape.bands, shape.frames) if shape.bands else (shape.channels, shape.frames)
    draw = torch.randn(n_rows, *row, generator=torch.Generator().manual_seed(n_rows))
    side = (1, -1) + (1,) * (len(row) - 1)
    return draw * torch.tensor(trained.normalization.deviation).view(side) + torch.tensor(
        trained.normalization.mean
    ).view(side)


def _compare(session: Any, module: nn.Module, rows: Tensor, outputs: tuple[str, ...]) -> None:
    with torch.inference_mode():
        expected = [value.numpy() for value in module(rows)]
    for name, ours, theirs in zip(outputs, expected, session.run(None, {"features": rows.numpy()})):
        limit = TOLERANCE * (max(1e-6, float(np.abs(ours).max())) if name == "embedding" else 1.0)
        off = float(np.abs(ours - theirs).max())
        if not off <= limit:
            raise IntegrityError(
                f"onnxruntime computes another {name} than torch: {off:.2g} apart, {limit:.2g} allowed"
            )
