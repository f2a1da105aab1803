"""``python -m benchmarks.profiles``: where a training spends its time, a plain loop and ours, by PyTorch's profiler.

Shares of the time within operations on the processor, one thread, kinds of operations summed; a few batches.
"""

import argparse
from collections import Counter
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import cases
from benchmarks.cases import Case
from benchmarks.rows import machine

CPU = torch.device("cpu")
KINDS = {  # of operations, by a part of their names; the first that fits
    "convolutions": ("convolution", "conv"),
    "recurrent layers": ("rnn", "gru", "lstm"),
    "batch normalisation": ("batch_norm",),
    "pooling": ("pool",),
    "dropout": ("dropout", "bernoulli"),
    "dense layers": ("addmm", "mm", "linear"),
    "optimiser": ("adam", "sgd", "_foreach", "addcdiv", "addcmul", "sqrt", "lerp"),
    "copies, casts, layouts": (
        "copy_",
        "to_copy",
        "contiguous",
        "clone",
        "cat",
        "reorder",
        "index",
        "stack",
        "fill",
        "zero",
    ),
    "activations": ("relu", "threshold", "tanh", "softmax", "sigmoid"),
}


def shares(run: Callable[[], object]) -> dict[str, float]:
    """Shares of the time within operations, by kind; and seconds in all."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        run()
    microseconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.lower()
        kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "the rest")
        microseconds[kind] += event.self_cpu_time_total
    total = sum(microseconds.values())
    return {kind: microseconds[kind] / total for kind in (*KINDS, "the rest")} | {"seconds": total / 1e6}


def profiled(case: Case) -> dict[str, dict[str, float]]:
    """Of a plain float32 loop, and of ours in both precisions."""
    examples = cases.made(case)
    ours = {name: cases.trainer_of(case, examples, CPU, precision=name) for name in ("float32", "bfloat16")}
    return {
        "a plain loop": shares(cases.plain_loop(case, examples, CPU)),
        **{f"ours, {name}": shares(trainer.run_epoch) for name, trainer in ours.items()},
    }


def main() -> None:
    """Print a Markdown table a network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiles", description=__doc__)
    parser.add_argument("--batches", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for case in (cases.LITIS, cases.ESC50):
        n_rows = given.batches * case.settings().batch_size
        found = profiled(cases.of(case, n_rows))
        print(f"\n| {case.model}, {n_rows} rows | {' | '.join(found)} |\n| --- |{' --- |' * len(found)}")
        for kind in (*KINDS, "the rest"):
            print(f"| {kind} | {' | '.join(f'{100 * column[kind]:.1f} %' for column in found.values())} |")
        print(f"| seconds | {' | '.join(format(column['seconds'], '.2f') for column in found.values())} |", flush=True)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
