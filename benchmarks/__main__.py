"""``python -m benchmarks [cpu|gpu]``: one table, each line against a peer or a limit measured in the same run.

``cpu`` (the default) goes through signal processing, whole stages, training and classifiers; names of lines choose some
of them. ``gpu`` needs a CUDA device: see ``python -m benchmarks gpu --help``.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks import classifiers, engine, rows, signal, stages
from benchmarks.rows import Line

RATIOS = (*signal.ROWS, *stages.ROWS)  # each one Row
LONG = (*engine.LINES, *classifiers.LINES)  # each some Lines, of repeats that take seconds
A_LONG_ONE = 5  # repeats of a ratio for one of these
ALL = {make.__name__: make for make in (*RATIOS, *LONG)}


def main() -> None:
    """Measure every line whose function's name is asked for, or all."""
    if sys.argv[1:2] == ["gpu"]:
        from benchmarks import gpu

        sys.exit(gpu.main(sys.argv[2:]))
    given = _arguments()
    console = Console()
    if not console.is_terminal:
        console.width = 200
    chosen = [make for name, make in ALL.items() if not given.rows or name in given.rows]
    lines: list[Line] = []
    for make in track(chosen, "measuring", console=console, transient=True):
        lines += _measured(make, given.repeats)
    console.print(rows.table(lines))
    if given.markdown:
        given.markdown.write_text(rows.markdown(lines))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"cpu, gpu, or some of: {', '.join(ALL)} (default: cpu, which is all)")
    parser.add_argument(
        "--repeats", type=int, default=15, help="interleaved; the median counts; a fifth of them where one takes long"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to this page")
    given = parser.parse_args()
    if given.rows[:1] == ["cpu"]:
        given.rows = given.rows[1:]
    if unknown := set(given.rows) - set(ALL):
        parser.error(f"unknown rows {', '.join(sorted(unknown))} (known: {', '.join(ALL)})")
    return given


def _measured(make: Callable, repeats: int) -> list[Line]:
    if make in RATIOS:
        return [rows.measure(make, repeats).line()]
    return make(max(1, repeats // A_LONG_ONE))


if __name__ == "__main__":
    main()
