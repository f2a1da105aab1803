"""Networks of Hugging Face as taggers and sources of embeddings: from a folder, or by name from the hub.

What is read is data: configurations in JSON, weights in safetensors, or in torch's format read with ``weights_only``.
No code of a model's repository is run. Only a name that is no folder here is looked for on the network.
"""

import hashlib
import importlib
import json
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from asctool.dsp import segments
from asctool.errors import DataError, EnvironmentFailure, UsageError
from asctool.storage.manifest import content_hash

PREFIX = "hf:"
EXAMPLE = "MIT/ast-finetuned-audioset-10-10-0.4593"
MISSING = "--model hf: needs more packages: pip install 'asctool[hub]'"
ACTIVATIONS = ("auto", "sigmoid", "softmax")
WINDOW_SECONDS = 10.0  # of a longer recording at once, where the network takes any length
LEAST_SECONDS = 0.1  # a shorter one is padded: convolutions need something to stand on
WINDOWS_AT_ONCE = 16
SPECTRUM_SAMPLES, SPECTRUM_HOP = 400, 160  # of extractors whose max_length counts frames (AST)
CONFIG, EXTRACTOR = "config.json", "preprocessor_config.json"
SAFE, PICKLED = "*.safetensors", "pytorch_model*.bin"
NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")  # as the hub has them
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class Found:
    """A model that is here, not yet loaded."""

    name: str  # as it was asked for
    folder: Path
    config: dict[str, Any]
    config_hash: str  # sha256 of config.json and preprocessor_config.json
    weights_hash: str  # sha256 of the files of weights

    @property
    def identity(self) -> dict[str, str]:
        """What a manifest says of it."""
        return {"name": self.name, "config": self.config_hash, "weights": self.weights_hash}

    @property
    def content(self) -> str:
        """One hash of all of it, wherever it lies."""
        return content_hash(self.config_hash, self.weights_hash)

    @property
    def files(self) -> list[Path]:
        """What whoever computes with it must see."""
        return [self.folder / CONFIG, *_weights(self.folder)]

    @property
    def short_name(self) -> str:
        """What a system is called that is made of it."""
        return Path(self.name).name or self.name

    def activation(self, asked: str) -> str:
        """Sigmoid or softmax: as asked, or as the configuration says whether labels exclude each other."""
        if asked not in ACTIVATIONS:
            raise UsageError(f"--activation {asked}: give {', '.join(ACTIVATIONS)}")
        if asked != "auto":
            return asked
        problem = self.config.get("problem_type")
        if problem == "regression":
            raise DataError(f"{self.name}: gives numbers, not classes (problem_type is regression)")
        if problem is None:
            log.warning(
                "%s does not say whether its labels exclude each other; taken for softmax, as Hugging Face does. "
                "Of AudioSet and other sets with several labels a clip they do not: give --activation sigmoid",
                self.name,
            )
        return "sigmoid" if problem == "multi_label_classification" else "softmax"


@dataclass(frozen=True)
class HubNetwork:
    """A network at work: mono sound at its rate in, one vector a recording out."""

    name: str
    network: nn.Module
    extractor: Any
    labels: tuple[str, ...]  # empty for embeddings
    rate: int  # Hz
    window: int  # samples
    activation: str  # empty for embeddings
    device: torch.device

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Mono (sample,) -> posteriors (label,) or an embedding (dimension,): the mean over windows of equal length.

        The last window is aligned to the end of the recording. DataError where the network cannot take it.
        """
        least = math.ceil(LEAST_SECONDS * self.rate)
        samples = np.pad(samples, (0, max(0, least - len(samples))))
        windows = segments.cut(samples, min(self.window, len(samples)), self.window)
        total = np.zeros(0)
        for first in range(0, len(windows), WINDOWS_AT_ONCE):
            part = self._batch(windows[first : first + WINDOWS_AT_ONCE]).sum(0)
            total = part if not len(total) else total + part
        mean: np.ndarray = (total / len(windows)).astype(np.float32)
        return mean

    def _batch(self, windows: list[np.ndarray]) -> np.ndarray:
        given = self.extractor(windows, sampling_rate=self.rate, return_tensors="pt")
        with torch.inference_mode():
            out = self.network(**{name: value.to(self.device) for name, value in given.items()})
            values = self._posteriors(out.logits.float()) if self.labels else _pooled(out).float()
        if values.ndim != 2 or not torch.isfinite(values).all():
            raise DataError(f"{self.name}: its output is not a finite vector a window")
        return values.double().cpu().numpy()

    def _posteriors(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(-1)


def find(model: str) -> Found:
    """The model of ``hf:FOLDER`` or ``hf:NAME``, fetched where it is neither a folder nor fetched before.

    UsageError for another form; DataError where there is no such model; EnvironmentFailure without the network.
    """
    if not model.startswith(PREFIX) or len(model) == len(PREFIX):
        raise UsageError(f"--model {model}: give hf: and a folder or a name, such as {PREFIX}{EXAMPLE}")
    name = model.removeprefix(PREFIX)
    folder = Path(name).resolve()
    if not folder.is_dir():
        if not NAME.fullmatch(name):
            raise DataError(f"{name}: there is no such folder")
        folder = _fetched(name)
    weights = _weights(folder)
    if not weights or not (folder / CONFIG).is_file():
        raise DataError(f"{name}: is no model of Hugging Face ({CONFIG} and model.safetensors are looked for)")
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        if not isinstance(config, dict):
            raise ValueError("no mapping")
    except (ValueError, RecursionError) as error:
        raise DataError(f"{folder / CONFIG}: cannot be read ({error})") from error
    described = [path for path in (folder / CONFIG, folder / EXTRACTOR) if path.is_file()]
    return Found(name, folder, config, _hash(described), _hash(weights))


def load(found: Found, kind: str, activation: str, device: torch.device) -> HubNetwork:
    """The network of a model for ``tag`` or ``embedding``, in float32; DataError where it has not what that needs."""
    transformers = _transformers()
    made = transformers.AutoModelForAudioClassification if kind == "tag" else transformers.AutoModel
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        extractor = transformers.AutoFeatureExtractor.from_pretrained(found.folder, **options)
        network, told = made.from_pretrained(
            found.folder,
            **options,
            use_safetensors=any(found.folder.glob(SAFE)),
            weights_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except MemoryError:
        raise
    except Exception as error:  # whatever a foreign folder makes of transformers
        raise DataError(f"{found.name}: cannot be loaded for --kind {kind} ({_first_line(error)})") from error
    if lacking := sorted(told["missing_keys"]):  # would be drawn at random
        of_head = [name for name in lacking if not name.startswith(f"{network.base_model_prefix}.")]
        if kind == "tag" and of_head:
            raise DataError(f"{found.name}: has no classes of its own (no {of_head[0]}); --kind embedding is for it")
        raise DataError(f"{found.name}: its weights are not all there (no {lacking[0]}); fetch it again")
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int) or rate <= 0:
        raise DataError(f"{found.name}: takes no sound (its {EXTRACTOR} names no sampling_rate)")
    network = network.get_encoder() if network.config.is_encoder_decoder and kind == "embedding" else network
    labels = _labels(network.config) if kind == "tag" else ()
    return HubNetwork(
        found.name,
        network.to(device).eval(),
        extractor,
        labels,
        rate,
        _window(extractor, rate),
        activation * bool(labels),
        device,
    )


def _imported(module: str) -> Any:
    """A module of the extra; seconds go by, so that it comes when a model is asked for."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EnvironmentFailure(f"{MISSING} ({error})") from error


def _transformers() -> Any:
    transformers = _imported("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def _fetched(name: str) -> Path:
    """A folder with what the hub has of a model; what was fetched before is not fetched again."""
    huggingface_hub = _imported("huggingface_hub")
    try:
        folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=["*.json", SAFE]))
        if not _weights(folder):
            folder = Path(huggingface_hub.snapshot_download(name, allow_patterns=["*.json", SAFE, PICKLED]))
    except huggingface_hub.errors.RepositoryNotFoundError as error:
        raise DataError(f"{name}: is neither a folder here nor a model of Hugging Face that is open to all") from error
    except Exception as error:  # of many libraries for one network
        raise EnvironmentFailure(
            f"{name}: is no folder here, and could not be fetched from Hugging Face ({_first_line(error)}); "
            "fetch it elsewhere and give its folder"
        ) from error
    return folder


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob(SAFE)) or sorted(folder.glob(PICKLED))


def _hash(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _labels(config: Any) -> tuple[str, ...]:
    return tuple(str(config.id2label[index]) for index in range(config.num_labels))


def _window(extractor: Any, rate: int) -> int:
    """Samples that a network takes at once: what its extractor would cut off otherwise, or as many as are sensible."""
    if isinstance(getattr(extractor, "n_samples", None), int):  # Whisper's 30 s
        return int(extractor.n_samples)
    if isinstance(getattr(extractor, "max_length", None), int) and hasattr(extractor, "num_mel_bins"):
        return SPECTRUM_SAMPLES + SPECTRUM_HOP * (extractor.max_length - 1)
    return round(WINDOW_SECONDS * rate)


def _pooled(out: Any) -> torch.Tensor:
    """What the network itself makes of a whole window, or the mean over its steps: (window, dimension)."""
    pooled = getattr(out, "pooler_output", None)
    return pooled if pooled is not None else out.last_hidden_state.mean(1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
