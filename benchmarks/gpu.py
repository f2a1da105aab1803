"""``python -m benchmarks gpu``: a CUDA device against the processor and against a plain loop; ten minutes at most.

Posteriors of one network in every precision; training, extraction and folds side by side; with ``--corpus`` ESC-10 on
its five folds. Where there is no CUDA device it says so and ends with 2.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from asctool.training import devices, inference
from benchmarks import cases, flops, rows
from benchmarks.cases import ESC50, LITIS, Case
from benchmarks.rows import Line, interleaved, times

CPU = torch.device("cpu")
FASTER = 3  # times a plain bfloat16 loop, and extraction times training
SECONDS = {"att_crnn": 2.0, "acrnn": 1.5}  # of an epoch, at most, on an H100
FOLDS_SECONDS = 1.5
AGREE = {("cpu", False): 1e-5, ("cpu", True): 2e-2, ("cuda", False): 1e-4, ("cuda", True): 2e-2}
ON_TWO_CORES = (92.25, 1.85)  # ESC-10, Att-CRNN on log-mel, softmax: mean and deviation over folds, recipes/esc10

FOLD = cases.of(ESC50, 1_920)  # a fold's share of 9 600 segments


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    litis: Case = LITIS
    esc50: Case = ESC50
    fold: Case = FOLD
    folds: int = 5
    parity_rows: int = 256
    matrix: int = 8192
    repeats: int = 3
    workers: int = 4  # of the plain loop's DataLoader


TINY = Size(cases.of(LITIS, 8, 4), cases.of(ESC50, 8, 4), cases.of(ESC50, 4, 4), 2, 4, 256, 1, 1)


def main(arguments: Sequence[str]) -> int:
    """Measure and print one table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda or cuda:n (default: cuda)")
    parser.add_argument("--corpus", type=Path, metavar="ESC10", help="train on its five folds as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to this page")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # to try the path; figures say nothing
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("benchmarks gpu: there is no CUDA device here; python -m benchmarks measures the processor\n")
        return 2
    size = TINY if given.tiny else Size()
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(_name(device))
    steps: list[Callable[[], list[Line]]] = [
        partial(parity, size, device),
        partial(throughput, size.litis, size, device),
        partial(throughput, size.esc50, size, device),
        partial(side_by_side, size, device),
    ]
    if given.corpus:
        steps.append(partial(five_folds, given.corpus, device))
    lines: list[Line] = []
    for step in steps:
        lines += step()
    console.print(rows.table(lines))
    if given.markdown:
        given.markdown.write_text(f"{_name(device)}\n\n{rows.markdown(lines)}")
    return 0


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, torch {torch.__version__}"
    return f"no CUDA device, torch {torch.__version__}: a trial of the path"


def parity(size: Size, device: torch.device) -> list[Line]:
    """Posteriors of one checkpoint, computed on the processor in float32 row by row, against every other way."""
    lines = []
    for case in (cases.of(size.litis, size.parity_rows), cases.of(size.esc50, size.parity_rows)):
        features, network = cases.made(case).features, cases.network_of(case)
        compute = partial(inference.compute, normalization=case.still, kind="posterior")
        exact = np.concatenate(
            [
                compute(network, features[first : first + 1], device=CPU, bfloat16=False)
                for first in range(min(len(features), 16))
            ]
        )
        for place in (CPU, device):
            for bfloat16 in (False, True):
                found = compute(devices.place(network, place), features, device=place, bfloat16=bfloat16)
                apart, mark = float(np.abs(found[: len(exact)] - exact).max()), AGREE[place.type, bfloat16]
                what = f"posteriors of {case.model}, {place.type}, {'bfloat16' if bfloat16 else 'float32'}"
                lines.append(Line(what, "cpu, float32", f"{apart:.1e} apart", f"within {mark:g}", holds=apart <= mark))
    return lines


def throughput(case: Case, size: Size, device: torch.device) -> list[Line]:
    """Training against a plain loop, captured and not; extraction against training; operations against a product's."""
    examples = cases.made(case, np.float16)
    captured, launched = (cases.trainer_of(case, examples, device, capture=way) for way in ("auto", "none"))
    plain = cases.plain_loop(case, examples, device, bfloat16=True, n_workers=size.workers)

    def extract() -> np.ndarray:
        network, bfloat16 = captured.network, captured.bfloat16
        return inference.compute(network, examples.features, case.still, "posterior", device, bfloat16)

    functions = [_to_the_end(function, device) for function in (captured.run_epoch, plain, launched.run_epoch, extract)]
    own, peer, uncaptured, extracted = interleaved(functions, size.repeats)
    name, most = case.model, SECONDS[case.model]
    row = flops.of_a_row(cases.network_of(case), case.shape)
    peak = flops.of_a_product(device, torch.bfloat16, size.matrix)
    in_training, in_extraction = flops.TRAINING * row * case.n_rows / own, row * case.n_rows / extracted
    return [
        Line(
            f"train {name}, {case.n_rows} rows",
            f"a plain bfloat16 loop, {size.workers} workers",
            **times(own, peer, FASTER),
            rate=f"{case.n_rows / own:,.0f} rows/s",
            more=f"{uncaptured / own:.2f} x as fast as without a captured step",
        ),
        Line("an epoch of it", "", f"{own:.2f} s", f"at most {most:g} s", holds=own <= most),
        _share(f"train {name}", in_training, peak),
        Line(
            f"extract {name}",
            "training",
            **times(extracted, own, FASTER),
            rate=f"{case.n_rows / extracted:,.0f} rows/s",
        ),
        _share(f"extract {name}", in_extraction, peak),
    ]


def _share(what: str, achieved: float, peak: float) -> Line:
    return Line(
        f"{what}, operations",
        f"a bfloat16 matrix product, {peak / 1e12:,.2f} TFLOP/s",
        f"{100 * achieved / peak:.2g} %",
        "",
        f"{achieved / 1e12:.3g} TFLOP/s",
    )


def _to_the_end(function: Callable[[], object], device: torch.device) -> Callable[[], None]:
    def call() -> None:
        function()
        flops.wait(device)

    return call


def side_by_side(size: Size, device: torch.device) -> list[Line]:
    """Folds of ESC-10 one after the other, and each in a process of its own."""
    case = size.fold
    trainer = cases.trainer_of(case, cases.made(case, np.float16), device)
    (alone,) = interleaved([_to_the_end(trainer.run_epoch, device)], size.repeats)
    del trainer
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(size.folds), context.Queue()
    arguments = (case, str(device), size.repeats, barrier, queue)
    processes = [context.Process(target=_fold, args=arguments) for _ in range(size.folds)]
    for process in processes:
        process.start()
    together = max(queue.get(timeout=300) for _ in processes)  # each its median; the slowest is waited for
    for process in processes:
        process.join()
    one_by_one = size.folds * alone
    return [
        Line(
            f"{size.folds} folds, {size.folds * case.n_rows} rows of {case.model} in all",
            "one after the other",
            f"{one_by_one / together:.2f} x",
            "1 x",
            f"{size.folds * case.n_rows / together:,.0f} rows/s",
            "a process each",
            together <= one_by_one,
        ),
        Line(
            "an epoch of all", "", f"{together:.2f} s", f"at most {FOLDS_SECONDS:g} s", holds=together <= FOLDS_SECONDS
        ),
    ]


def _fold(case: Case, device: str, repeats: int, barrier: Any, queue: Any) -> None:
    place = torch.device(device)
    trainer = cases.trainer_of(case, cases.made(case, np.float16), place)
    epoch = _to_the_end(trainer.run_epoch, place)
    epoch()
    seconds = []
    for _ in range(repeats):
        barrier.wait()
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    queue.put(float(np.median(seconds)))


def five_folds(corpus: Path, device: torch.device) -> list[Line]:
    """Att-CRNN on ESC-10's folds with the recipe's settings, 30 epochs: clip accuracy of the softmax."""
    preset = Path(__file__).parents[1] / "recipes" / "esc10" / "conf" / "att_crnn.toml"
    with tempfile.TemporaryDirectory(prefix="asctool-benchmark-") as name:
        base = Path(name)
        start = time.perf_counter()
        _asctool("prep", "esc10", corpus, base / "data")
        _asctool("denoise", base / "data", base / "denoised")
        features = ("--type", "logmel", "--set", "sample_rate=22050", "--denoised", base / "denoised")
        _asctool("featurize", base / "data", base / "logmel", *features)
        prepared = time.perf_counter() - start
        clips = [_one_fold(base, fold, preset, device) for fold in range(1, 6)]
        took = time.perf_counter() - start - prepared
        found = json.loads(_asctool("score", *clips, "--json"))
    accuracy = 100 * found["systems"][0]["mean"]["accuracy"]["mean"]
    expected, deviation = ON_TWO_CORES
    return [
        Line(
            "ESC-10, five folds, att_crnn on log-mel, softmax",
            f"two cores, {expected:g} ± {deviation:g} %",
            f"{accuracy:.2f} %",
            f"within {deviation:g} % of it",
            f"{took:.0f} s",
            f"features {prepared:.0f} s",
            abs(accuracy - expected) <= deviation,
        )
    ]


def _one_fold(base: Path, fold: int, preset: Path, device: torch.device) -> Path:
    run, posteriors, clips = (base / f"{kind}-{fold}" for kind in ("run", "posteriors", "clips"))
    _asctool(
        *("train", base / "logmel", run, "--model", "att_crnn", "--fold", fold, "--config", preset),
        *("--mix", "between_class", "--device", device),
    )
    _asctool("extract", run, base / "logmel", posteriors, "--kind", "posterior", "--device", device)
    _asctool("fuse", posteriors, clips)
    return clips


def _asctool(*words: object) -> str:
    quiet = () if words[0] == "score" else ("--quiet",)
    command = [sys.executable, "-m", "asctool", *map(str, words), *quiet]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ.copy()).stdout
