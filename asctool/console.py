"""What a person sees: progress, messages, tables, how an error ends the program. Only results go to standard output."""

import logging
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from asctool.errors import AsctoolError

PLAIN_SECONDS = 10.0  # between lines of progress where there is no terminal
STOPPED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Stopped(BaseException):
    """SIGTERM: unwinds like Ctrl-C, so that temporary files go and locks are let loose."""


class Messages(logging.Handler):
    """Log lines on standard error: plain words, warnings marked as such."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        sys.stderr.write(f"{mark}{record.getMessage()}\n")


def set_up(quiet: bool) -> None:
    """Send the messages of all stages to standard error; ``quiet`` leaves warnings only."""
    log = logging.getLogger("asctool")
    log.handlers[:] = [Messages()]
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False


class Bar:
    """Progress: a bar with rate and remaining time on a terminal, a plain line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.rich: Any = None

    def start(self, what: str, total: float, unit: str) -> None:
        """A piece of work of ``total`` units begins."""
        self.what, self.total, self.unit, self.done = what, total, unit, 0.0
        self.began = self.told = time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            self._start_rich()

    def advance(self, amount: float) -> None:
        """``amount`` units more are done."""
        self.done += amount
        if self.rich is not None:
            self.rich.advance(self.task, amount)
            if self.done >= self.total:
                self.stop()
            return
        now = time.monotonic()
        if not self.quiet and (now - self.told > PLAIN_SECONDS or self.done >= self.total):
            self.told = now
            rate = self.done / max(now - self.began, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            sys.stderr.write(
                f"{self.what}: {self.done:g} of {self.total:g} {self.unit}, {rate:.3g} a second, {left:.0f} s left\n"
            )

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self.rich is not None:
            self.rich.stop()
            self.rich = None

    def _start_rich(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.stop()
        self.rich = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self.rich.start()
        self.task = self.rich.add_task(self.what, total=self.total)


def guarded(command: Callable[[], Any], name: str, debug: bool) -> int:
    """Run a command; the exit code of what became of it, one line on standard error for an expected failure."""
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        command()
    except AsctoolError as error:
        if debug:
            raise
        sys.stderr.write(f"asctool {name}: {error}\n")
        return error.exit_code
    except MemoryError:
        sys.stderr.write(f"asctool {name}: not enough memory\n")
        return 4
    except KeyboardInterrupt:
        sys.stderr.write(f"asctool {name}: stopped; run it again to go on\n")
        return STOPPED_BY[signal.SIGINT]
    except Stopped:
        sys.stderr.write(f"asctool {name}: stopped; run it again to go on\n")
        return STOPPED_BY[signal.SIGTERM]
    except BrokenPipeError:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped


def write_json(value: Any) -> None:
    """A value on standard output, for programs."""
    import json

    sys.stdout.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(file=sys.stdout, width=width).print(table)


def write_tree(title: str, value: Any) -> None:
    """A nested value on standard output, as a tree."""
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    def grow(tree: Tree, part: Any) -> None:
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, entry in items:
            if isinstance(entry, dict | list) and entry and not _is_flat(entry):
                grow(tree.add(f"[bold]{escape(str(key))}"), entry)
            else:
                tree.add(f"[bold]{escape(str(key))}[/]: {escape(_flat(entry))}")

    tree = Tree(f"[bold]{escape(title)}")
    grow(tree, value)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160).print(tree)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(entry, dict | list) for entry in value)


def _flat(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
