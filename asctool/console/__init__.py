"""What a person sees: messages and progress here, results and how a command ends beside."""

import logging
import os
import sys
import time
from typing import Any

PLAIN_SECONDS = 10.0  # between lines of progress where there is no terminal


class Messages(logging.Handler):
    """Log lines on standard error: plain words, warnings marked as such."""

    def emit(self, record: logging.LogRecord) -> None:
        mark = "warning: " if record.levelno >= logging.WARNING else ""
        sys.stderr.write(f"{mark}{record.getMessage()}\n")


def set_up(quiet: bool) -> None:
    """Send the messages of all stages to standard error; ``quiet`` leaves warnings only."""
    log = logging.getLogger("asctool")
    log.handlers[:] = [Messages()]
    log.setLevel(logging.ERROR if not speaks() else logging.WARNING if quiet else logging.INFO)
    log.propagate = False


def speaks() -> bool:
    """Whether this process tells what all do: of those that torchrun started the first, alone any."""
    return not of_several() or os.environ.get("RANK", "0") == "0"


def of_several() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def warn(message: str) -> None:
    """A line on standard error that --quiet does not silence."""
    logging.getLogger("asctool").warning("%s", message)


class Bar:
    """Progress: a bar with rate and remaining time on a terminal, a plain line now and then elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet or not speaks()
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
