"""Files of weights that a hostile hand wrote, hash and all: refused at once, without memory for what they claim."""

import dataclasses
import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALL, asctool
from small import SHAPES, shape_of, small

from asctool import models, registry
from asctool.cli import run
from asctool.errors import IntegrityError
from asctool.storage import atomic, manifest, settings
from asctool.storage.run import MODEL
from asctool.training import checkpoint, loading

MODELS = registry.names("models")
CLASSES = ["a", "b", "c"]
ROOM = 512 << 20  # bytes that a refusal may take: libraries that are loaded on first use, no more


def saved(name: str) -> dict[str, Any]:
    """What a training of a small network writes, taken apart."""
    config, shape = small(name), shape_of(name)
    network = models.build(name, config, shape, len(CLASSES))
    description = {
        "shape": vars(shape),
        "normalization": {"mean": [0.0] * shape.channels, "deviation": [1.0] * shape.channels},
        "protocol": {"select": "last", "epoch": 1, "epochs": 1, "monitored": ["train"]},
        "config": {"model": name, "network": settings.as_dict(config), "classes": CLASSES, "fold": 1},
    }
    return {"weights": network.state_dict(), "description": description}


def load(state: dict[str, Any]) -> loading.Trained:
    whole = {**state, "description": json.dumps(state["description"])}
    return loading.load(checkpoint.encode(whole), "model.pt")


@pytest.fixture
def little_memory() -> Iterator[None]:
    """No room for what a file claims."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.parametrize("name", MODELS)
def test_what_was_written_is_read(name: str) -> None:
    state = saved(name)
    trained = load(state)
    for key, value in trained.network.state_dict().items():
        assert torch.equal(value, state["weights"][key])
    assert trained.shape == shape_of(name) and trained.config["classes"] == CLASSES


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field.name)
        for name in MODELS
        for field in dataclasses.fields(registry.load("models", name).Config)
        if isinstance(field.default, int | tuple) and not isinstance(field.default, bool)
    ],
)
@pytest.mark.parametrize("times", [2, 1000, 10**9])
def test_a_configuration_larger_than_its_weights_takes_no_memory(
    name: str, field: str, times: int, little_memory: None
) -> None:
    state = saved(name)
    network = state["description"]["config"]["network"]
    value = network[field]
    network[field] = [entry * times for entry in value] if isinstance(value, list) else value * times
    began = time.monotonic()
    try:
        parameters = list(load(state).network.parameters())
        assert times < 10**9 and sum(p.numel() for p in parameters) <= sum(v.numel() for v in state["weights"].values())
    except IntegrityError as error:  # but for a setting of parts that this network does not have
        assert "model.pt: its description and its weights do not agree" in str(error) and "alloc" not in str(error)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("change", ["a dimension of the rows", "more classes"])
def test_rows_and_classes_that_are_not_those_of_the_weights(name: str, change: str, little_memory: None) -> None:
    state = saved(name)
    if change == "more classes":
        state["description"]["config"]["classes"] = [str(i) for i in range(10**5)]
    else:
        state["description"]["shape"] = {**vars(shape_of(name)), "channels": 10**9}
    with pytest.raises(IntegrityError, match="do not agree") as caught:
        load(state)
    assert "alloc" not in str(caught.value)


def one_number_a_million_times(state: dict[str, Any]) -> None:
    state["description"]["config"]["network"]["filters"] = [4, 4, 1 << 16]
    for key, value in (
        models.build("cnn", {"filters": (4, 4, 1 << 16)}, SHAPES["feature"], len(CLASSES)).state_dict().items()
    ):
        state["weights"][key] = torch.zeros((), dtype=value.dtype).expand(value.shape)


CRAFTED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a view of one number": (one_number_a_million_times, "bytes promise"),
    "nothing behind it": (lambda s: s["weights"].update({"output.bias": torch.empty(3, device="meta")}), "no weights"),
    "sparse": (lambda s: s["weights"].update({"output.bias": torch.ones(3).to_sparse()}), "no weights"),
    "a text": (lambda s: s["weights"].update({"output.bias": "[0, 0, 0]"}), "no weights"),
    "a number for a name": (lambda s: s["weights"].update({3: torch.zeros(3)}), "no weights"),
    "no weights": (lambda s: s.pop("weights"), "no weights"),
    "a list of weights": (lambda s: s.update(weights=list(s["weights"].values())), "no weights"),
    "not finite": (lambda s: s["weights"]["output.bias"].fill_(float("nan")), "not finite"),
    "one too few": (lambda s: s["weights"].pop("output.bias"), "on one side only: output.bias"),
    "one too many": (lambda s: s["weights"].update(more=torch.zeros(3)), "on one side only: more"),
    "another shape": (lambda s: s["weights"].update({"output.bias": torch.zeros(4)}), r"is \[4\], where \[3\] belongs"),
    "no description": (lambda s: s.update(description=None), "do not agree"),
    "no such network": (lambda s: s["description"]["config"].update(model="../cnn"), "unknown network"),
    "a private module": (lambda s: s["description"]["config"].update(model="_layers"), "unknown network"),
    "no such setting": (lambda s: s["description"]["config"]["network"].update(more=1), "unknown setting"),
    "a text for a number": (lambda s: s["description"]["config"]["network"].update(conv_dropout="x"), "expected float"),
    "classes of numbers": (lambda s: s["description"]["config"].update(classes=[1, 2, 3]), "no list of texts"),
    "classes in a text": (lambda s: s["description"]["config"].update(classes="abc"), "no list of texts"),
    "division by zero": (lambda s: s["description"]["normalization"].update(deviation=[0.0, 0.0]), "above 0"),
    "a mean of NaN": (lambda s: s["description"]["normalization"].update(mean=[float("nan")] * 2), "above 0"),
    "a mean too few": (lambda s: s["description"]["normalization"].update(mean=[0.0]), "normalisation of 1 channels"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_weights_are_refused(case: str, little_memory: None) -> None:
    state, (change, reason) = saved("cnn"), CRAFTED[case]
    load(state)
    change(state)
    with pytest.raises(IntegrityError, match=reason):
        load(state)


@pytest.mark.parametrize("layer", [lambda: torch.nn.Linear(1, 1), torch.nn.Dropout])
def test_a_network_of_endless_layers_is_stopped_while_it_is_built(layer: Callable[[], torch.nn.Module]) -> None:
    def endless() -> None:
        layers = torch.nn.ModuleList()
        while True:
            layers.append(layer())

    with pytest.raises(ValueError, match="a network of more"), loading._no_larger_than(10):
        endless()
    torch.nn.Sequential(*[torch.nn.Linear(1, 1) for _ in range(100)])  # no limit is left behind


@pytest.mark.parametrize("bytes_", [b"", b"PK", b"\x80\x02."])
def test_what_is_no_file_of_weights(bytes_: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"model\.pt: a checkpoint cannot be read"):
        loading.load(bytes_, "model.pt")


def test_stages_refuse_a_run_whose_configuration_swells(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything in the run agrees with itself but the weights: manifest, hashes, the description in the file."""
    asctool("train", corpus / "logmel", tmp_path / "run", "--model", "cnn", "--fold", 1, "--epochs", 1, *SMALL[:2])
    state = checkpoint.decode((tmp_path / "run" / MODEL).read_bytes(), loading.CPU)
    described, found = json.loads(state["description"]), manifest.read(tmp_path / "run")
    for config in (described["config"], found["config"]):
        config["network"]["filters"] = [1 << 12, 1 << 14, 1 << 14]  # 5 GB of weights
    data = checkpoint.encode({**state, "description": json.dumps(described)})
    (tmp_path / "run" / MODEL).write_bytes(data)
    found["files"][MODEL] = atomic.sha256(data)
    manifest.write(tmp_path / "run", found)
    extract = ["extract", tmp_path / "run", corpus / "logmel", tmp_path / "out", "--kind", "embedding"]
    for arguments in (extract, ["verify", tmp_path / "run"]):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        assert run([str(argument) for argument in arguments]) == 5
        assert time.monotonic() - began < 5
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
        assert "its description and its weights do not agree" in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_run_of_two_trainings_is_refused(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model.pt that is whole, under the manifest of another training."""
    for seed in (0, 1):
        asctool(
            *("train", corpus / "logmel", tmp_path / f"run-{seed}", "--model", "cnn", "--fold", 1, "--epochs", 1),
            *(*SMALL[:2], "--seed", seed),
        )
    (tmp_path / "run-0" / MODEL).write_bytes((tmp_path / "run-1" / MODEL).read_bytes())
    found = manifest.read(tmp_path / "run-0")
    found["files"][MODEL] = atomic.sha256((tmp_path / "run-1" / MODEL).read_bytes())
    manifest.write(tmp_path / "run-0", found)
    assert (
        run(["extract", str(tmp_path / "run-0"), str(corpus / "logmel"), str(tmp_path / "o"), "--kind", "embedding"])
        == 5
    )
    assert "model.pt and the manifest are of two trainings" in capsys.readouterr().err
