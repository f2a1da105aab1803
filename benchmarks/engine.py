"""Training and extraction on the processor against a plain float32 loop; scale, numerics.

``python -m benchmarks.engine --rows 300`` measures these alone. Time is that on the wall: training uses every core, so
that these lines mean something on an idle machine only.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from asctool import models
from asctool.models._layers import InputShape
from asctool.stages.train import configure
from asctool.training import devices, inference
from asctool.training.examples import Normalization
from asctool.training.trainer import Trainer
from benchmarks import cases, rows
from benchmarks.cases import Case
from benchmarks.rows import Line, interleaved, times

CPU = torch.device("cpu")
ROWS = 300  # of an epoch: the ratios hold for more
OUTSIDE = 0.05  # of an epoch, at most, besides forward, backward and step
EXTRACT = 3  # times the rate of training
SIZES = (1000, 3000, 10_000, 30_000)
AGREE = 2e-2  # posteriors in bfloat16 and float32


class Clock:
    """Seconds spent in a network's forward pass, in backward and in the optimiser's step, as long as it is entered."""

    def __init__(self, trainer: Trainer) -> None:
        self.seconds = 0.0
        self.places = ((trainer.network, "forward"), (trainer.optimizer, "step"), (Tensor, "backward"))

    def timed(self, function: Callable) -> Callable:
        """The function, its time added up."""

        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds += time.perf_counter() - start
            return result

        return call

    def __enter__(self) -> "Clock":
        self.before = [(owner, name, vars(owner).get(name)) for owner, name in self.places]
        for owner, name in self.places:
            setattr(owner, name, self.timed(getattr(owner, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, function in self.before:
            if function is None:
                delattr(owner, name)  # what its class has stands there again
            else:
                setattr(owner, name, function)


def share_outside(trainer: Trainer) -> float:
    """The share of an epoch that is neither forward, nor backward, nor the optimiser's step."""
    with Clock(trainer) as clock:
        start = time.perf_counter()
        trainer.run_epoch()
        whole = time.perf_counter() - start
    return 1 - clock.seconds / whole


def _training(case: Case, at_least: float, repeats: int) -> list[Line]:
    """Training, the share outside the network, extraction."""
    devices.use_all_cores()
    examples = cases.made(case)
    trainer, plain = cases.trainer_of(case, examples, CPU), cases.plain_loop(case, examples, CPU)

    def extract() -> np.ndarray:
        return inference.compute(trainer.network, examples.features, case.still, "posterior", CPU, trainer.bfloat16)

    own, peer, extracted = interleaved((trainer.run_epoch, plain, extract), repeats)
    outside = float(np.median([share_outside(trainer) for _ in range(repeats)]))
    name, threads = case.model, f"{torch.get_num_threads()} threads, {'bfloat16' if trainer.bfloat16 else 'float32'}"
    return [
        Line(
            f"train {name}",
            "a plain float32 loop",
            **times(own, peer, at_least),
            rate=f"{case.n_rows / own:.0f} rows/s",
            more=threads,
        ),
        Line(
            f"train {name}",
            "what is outside forward, backward, step",
            f"{100 * outside:.1f} %",
            f"below {100 * OUTSIDE:g} %",
            holds=outside < OUTSIDE,
        ),
        Line(
            f"extract {name}",
            "training",
            **times(extracted, own, EXTRACT),
            rate=f"{case.n_rows / extracted:.0f} rows/s",
        ),
    ]


def train_att_crnn(repeats: int, n_rows: int = ROWS) -> list[Line]:
    """LITIS Rouen's rows."""
    return _training(cases.of(cases.LITIS, n_rows), 1.9, repeats)


def train_acrnn(repeats: int, n_rows: int = ROWS) -> list[Line]:
    """ESC-50's rows."""
    return _training(cases.of(cases.ESC50, n_rows), 2.4, repeats)


def precision(repeats: int) -> list[Line]:
    """Posteriors of one network in float32 and in bfloat16."""
    lines = []
    for case in (cases.of(cases.LITIS, 64), cases.of(cases.ESC50, 64)):
        examples, network = cases.made(case), devices.place(cases.network_of(case), CPU)
        exact, rounded = (
            inference.compute(network, examples.features, case.still, "posterior", CPU, bfloat16)
            for bfloat16 in (False, True)
        )
        apart = float(np.abs(exact - rounded).max())
        lines.append(
            Line(
                f"posteriors of {case.model}, bfloat16",
                "float32",
                f"{apart:.1e} apart",
                f"{AGREE:g}",
                holds=apart < AGREE,
            )
        )
    return lines


def scale(repeats: int, sizes: tuple[int, ...] = SIZES) -> list[Line]:
    """Epochs of ever more rows, in proportion; the network is so small that the engine's own work shows."""
    devices.use_all_cores()
    case = Case("cnn", InputShape(1, 64, 16), 10, "mixup", 0)
    seconds = {}
    for n_rows in sizes:
        plan = configure("cnn", {"mix": "mixup", "filters": [4, 4, 4]})
        network = models.build("cnn", plan.config, case.shape, case.n_classes)
        examples = cases.made(replace(case, n_rows=n_rows))
        trainer = Trainer(network, examples, Normalization((0.0,), (1.0,)), plan.training, CPU)
        (seconds[n_rows],) = interleaved((trainer.run_epoch,), repeats)
    first = sizes[0]
    shares = {n_rows: took / (n_rows / first * seconds[first]) for n_rows, took in seconds.items()}
    return [
        Line(
            f"an epoch of {n_rows} rows, a tiny network",
            f"{n_rows // first} epochs of {first}",
            f"{share:.2f} x the time",
            "at most 1.1 x",
            f"{n_rows / seconds[n_rows]:.0f} rows/s",
            holds=share <= 1.1,
        )
        for n_rows, share in shares.items()
    ]


LINES = (train_att_crnn, train_acrnn, precision, scale)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"of an epoch (default: {ROWS})")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    lines = [*train_att_crnn(given.repeats, given.rows), *train_acrnn(given.repeats, given.rows)]
    console = Console()
    if not console.is_terminal:
        console.width = 160
    console.print(rows.table([*lines, *precision(given.repeats), *scale(given.repeats)]))


if __name__ == "__main__":
    main()
