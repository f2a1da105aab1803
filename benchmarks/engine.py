"""``python -m benchmarks.engine``: training and extraction on the processor against a plain loop; scale, numerics.

Networks and rows are those of the papers: att_crnn on 2 x 64 x 80, between-class mixing, batches of 100 (LITIS Rouen);
acrnn on 2 x 128 x 128, mixup, batches of 64 (ESC-50). Rows are made: noise. Repeats are interleaved, medians count.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from asctool import models, registry
from asctool.models._layers import InputShape
from asctool.stages.train import configure
from asctool.training import devices, inference
from asctool.training.examples import Examples, Normalization
from asctool.training.trainer import Trainer
from benchmarks import rows

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A network with rows of its paper's shape."""

    model: str
    shape: InputShape
    n_classes: int
    mix: str
    at_least: float  # times a plain float32 loop


CASES = (
    Case("att_crnn", InputShape(2, 64, 80), 19, "between_class", 1.9),
    Case("acrnn", InputShape(2, 128, 128), 50, "mixup", 2.4),
)


def made(case: Case, n_rows: int) -> Examples:
    """Rows of noise, classes in turn."""
    shape = (n_rows, case.shape.channels, case.shape.bands, case.shape.frames)
    features = np.random.default_rng(0).standard_normal(shape, np.float32)
    classes = np.arange(n_rows) % case.n_classes
    return Examples(features, np.eye(case.n_classes, dtype=np.float32)[classes], np.arange(n_rows))


def network_of(case: Case) -> nn.Module:
    """The network as its paper has it, from one seed."""
    torch.manual_seed(0)
    return models.build(case.model, registry.load("models", case.model).Config(), case.shape, case.n_classes)


def trainer_of(case: Case, examples: Examples) -> Trainer:
    """asctool's own engine with the paper's settings."""
    plan = configure(case.model, {"mix": case.mix})
    still = Normalization((0.0,) * case.shape.channels, (1.0,) * case.shape.channels)
    return Trainer(network_of(case), examples, still, plan.training, CPU)


def plain_loop(case: Case, examples: Examples) -> Callable[[], None]:
    """An epoch as a tutorial writes it: float32, a DataLoader, mixing within the batch, the loss read at every step."""
    network = network_of(case)
    training = configure(case.model, {}).training
    data = TensorDataset(torch.from_numpy(examples.features), torch.from_numpy(examples.targets))
    loader = DataLoader(data, training.batch_size, shuffle=True)
    rate = training.learning_rate
    optimizer = (
        torch.optim.SGD(network.parameters(), rate, momentum=training.momentum, nesterov=True)
        if training.optimizer == "sgd"
        else torch.optim.Adam(network.parameters(), rate)
    )

    def epoch() -> None:
        network.train()
        for features, targets in loader:
            partners = torch.randperm(len(features))
            share = float(np.random.default_rng(0).uniform())
            mixed = share * features + (1 - share) * features[partners]
            loss = nn.functional.cross_entropy(network(mixed), share * targets + (1 - share) * targets[partners])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


class Clock:
    """Seconds spent in a network's forward pass, in backward and in the optimiser's step."""

    def __init__(self, trainer: Trainer) -> None:
        self.seconds = 0.0
        trainer.network.forward = self.timed(trainer.network.forward)  # type: ignore[method-assign]
        trainer.optimizer.step = self.timed(trainer.optimizer.step)  # type: ignore[method-assign]
        self.backward = Tensor.backward

    def timed(self, function: Callable) -> Callable:
        """The function, its time added up."""

        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds += time.perf_counter() - start
            return result

        return call

    def __enter__(self) -> "Clock":
        Tensor.backward = self.timed(Tensor.backward)  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        Tensor.backward = self.backward  # type: ignore[method-assign]


def seconds_of(function: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def training_rows(case: Case, n_rows: int, repeats: int) -> list[tuple[str, ...]]:
    """Training, the share outside the network, extraction: three rows of the table."""
    examples = made(case, n_rows)
    trainer, plain = trainer_of(case, examples), plain_loop(case, examples)
    trainer.run_epoch()  # the first one chooses algorithms and allocates
    plain()
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(seconds_of(trainer.run_epoch))
        theirs.append(seconds_of(plain))
    with Clock(trainer) as clock:
        whole = seconds_of(trainer.run_epoch)
    own, peer = median(ours), median(theirs)
    still = Normalization((0.0,) * case.shape.channels, (1.0,) * case.shape.channels)
    extract = median(
        seconds_of(
            lambda: inference.compute(trainer.network, examples.features, still, "posterior", CPU, trainer.bfloat16)
        )
        for _ in range(repeats)
    )
    rate = f"{n_rows / own:.0f} rows/s"
    return [
        (f"train {case.model}", "a plain float32 loop", f"{peer / own:.2f} x", f"{case.at_least} x", rate),
        (f"train {case.model}", "outside the network", f"{100 * (1 - clock.seconds / whole):.1f} %", "below 5 %", ""),
        (f"extract {case.model}", "training", f"{own / extract:.1f} x", "3 x", f"{n_rows / extract:.0f} rows/s"),
    ]


def scale_rows(sizes: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Epochs of ever more rows, in proportion; the network is so small that the engine's own work shows."""
    case = Case("cnn", InputShape(1, 64, 16), 10, "mixup", 1)
    seconds = {}
    for n_rows in sizes:
        plan = configure("cnn", {"mix": "mixup", "filters": [4, 4, 4]})
        network = models.build("cnn", plan.config, case.shape, case.n_classes)
        trainer = Trainer(network, made(case, n_rows), Normalization((0.0,), (1.0,)), plan.training, CPU)
        trainer.run_epoch()
        seconds[n_rows] = min(seconds_of(trainer.run_epoch) for _ in range(3))
    first = sizes[0]
    return [
        (
            f"an epoch of {n_rows} rows",
            f"{n_rows // first} epochs of {first}",
            f"{took / (n_rows / first * seconds[first]):.2f} x the time",
            "in proportion",
            f"{n_rows / took:.0f} rows/s",
        )
        for n_rows, took in seconds.items()
    ]


def precision_rows() -> list[tuple[str, ...]]:
    """Posteriors of one network in float32 and in bfloat16."""
    out = []
    for case in CASES:
        examples, network = made(case, 64), devices.place(network_of(case), CPU)
        still = Normalization((0.0,) * case.shape.channels, (1.0,) * case.shape.channels)
        exact, rounded = (
            inference.compute(network, examples.features, still, "posterior", CPU, bfloat16)
            for bfloat16 in (False, True)
        )
        largest = float(np.abs(exact - rounded).max())
        out.append((f"posteriors of {case.model}, bfloat16", "float32", f"{largest:.1e} apart", "within 2e-2", ""))
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--rows", type=int, default=300, help="of an epoch (default: 300)")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    devices.use_all_cores()
    caption = f"{rows.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    table = Table("what", "against", "measured", "at least", "rate", caption=caption)
    for case in CASES:
        for row in training_rows(case, given.rows, given.repeats):
            table.add_row(*row)
    for row in [*precision_rows(), *scale_rows((1000, 3000, 10_000, 30_000))]:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 140
    console.print(table)


if __name__ == "__main__":
    main()
