"""``python -m benchmarks``: one table of ratios, each measured in one run; ``--markdown FILE`` writes it to a page."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks import rows, signal, stages

ROWS = (*signal.ROWS, *stages.ROWS)


def main() -> None:
    """Measure every row whose function's name is asked for, or all."""
    names = [make.__name__ for make in ROWS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of: {', '.join(names)} (default: all)")
    parser.add_argument("--repeats", type=int, default=15, help="interleaved; the median counts (default: 15)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to this page")
    given = parser.parse_args()
    if unknown := set(given.rows) - set(names):
        parser.error(f"unknown rows {', '.join(sorted(unknown))} (known: {', '.join(names)})")
    console = Console()
    if not console.is_terminal:
        console.width = 200
    chosen = [make for make in ROWS if not given.rows or make.__name__ in given.rows]
    results = [
        rows.measure(make, given.repeats) for make in track(chosen, "measuring", console=console, transient=True)
    ]
    console.print(rows.table(results))
    if given.markdown:
        given.markdown.write_text(rows.markdown(results))


if __name__ == "__main__":
    main()
