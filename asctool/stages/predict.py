"""predict: what recordings sound like, by trained networks, by what svm or fuse made of them, or by a bundle."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asctool import registry
from asctool.corpora.folder import AUDIO_EXTENSIONS
from asctool.errors import DataError, UsageError
from asctool.evaluation import fusion
from asctool.storage import audio

if TYPE_CHECKING:
    from asctool.training.predictor import Heard, Piece, Predictor

PIECE_SECONDS = 32.0  # of a recording at once: what is shorter is computed as denoise and featurize compute it
STANDARD_INPUT = "-"
UNKNOWN = "unknown"
DIGITS = 6  # of a posterior, behind the point


@dataclass(frozen=True)
class Span:
    """A stretch of a recording and what it sounds like."""

    start: float  # seconds
    end: float
    label: str  # the likeliest class, or UNKNOWN
    posterior: float  # of the likeliest class
    posteriors: dict[str, float]  # of all classes


@dataclass(frozen=True)
class Answer:
    """What a recording sounds like, or why it cannot be told."""

    recording: str
    whole: Span | None = None
    timeline: tuple[Span, ...] = ()
    problem: str = ""


def check_options(rule: str | None, unknown_below: float) -> None:
    """UsageError for what no model can do, before one is read."""
    if rule is not None and rule not in fusion.RULES:
        raise UsageError(registry.unknown("rule", rule, list(fusion.RULES)))
    if not 0 <= unknown_below <= 1:
        raise UsageError(f"--unknown-below {unknown_below:g}: a probability, from 0 to 1")


def open_models(models: Sequence[Path], device: str = "auto", rule: str | None = None) -> "Predictor":
    """Runs, results and bundles with all that they stand on, ready to hear; all of them are joined."""
    from asctool.training import portable
    from asctool.training.predictor import Predictor

    return Predictor(portable.gather(models), device, rule)


def predict(
    recordings: Sequence[str], predictor: "Predictor", unknown_below: float = 0.0, timeline: bool = False
) -> Iterator[Answer]:
    """An answer a recording as they come; files, whole folders, ``-`` for standard input.

    A bad file gets an answer that says what is wrong with it, and the others theirs.
    """
    names: deque[str] = deque()  # of those that are on their way
    for heard in predictor.hear_each(_pieces(recordings, names)):
        name = names.popleft()
        if isinstance(heard, DataError):
            yield Answer(shown(name), problem=_reason(heard, name))
        else:
            yield _answer(shown(name), heard, predictor.classes, unknown_below, timeline)


def _pieces(recordings: Sequence[str], names: "deque[str]") -> Iterator[Iterator["Piece"]]:
    """The pieces of one file after the other, whose name is put behind ``names``."""
    for recording in recordings:
        for path in _files_below(recording):
            names.append(path)
            yield _pieces_of(path)


def _pieces_of(path: str) -> Iterator["Piece"]:
    if Path(path).is_dir():
        raise DataError("holds no audio files")
    with _file(path) as file:
        yield from audio.pieces(file, PIECE_SECONDS)


def shown(path: str) -> str:
    """A name as text that can be printed, whatever bytes it has."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _files_below(recording: str) -> list[str]:
    """A file itself; of a folder all that are named as audio, in order, or the folder where none is.

    Links to folders are not followed: they can go in circles.
    """
    if recording == STANDARD_INPUT or not Path(recording).is_dir():
        return [recording]
    found = []
    for folder, folders, files in os.walk(recording):
        folders.sort()
        found += [str(Path(folder) / name) for name in sorted(files) if Path(name).suffix.lower() in AUDIO_EXTENSIONS]
    return found or [recording]


@contextlib.contextmanager
def _file(path: str) -> Iterator[Path]:
    """A file that can be examined from both ends: of standard input, a copy on disk."""
    if path != STANDARD_INPUT:
        yield Path(path)
        return
    with tempfile.NamedTemporaryFile(prefix="asctool-") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
        file.flush()
        yield Path(file.name)


def _reason(error: DataError, path: str) -> str:
    """What is wrong, without the name of the file, which stands beside it."""
    if path == STANDARD_INPUT:
        return str(error).partition(": ")[2]
    return str(error).removeprefix(f"{path}: ").removeprefix(f"{path!a}: ")


def _answer(recording: str, heard: "Heard", classes: Sequence[str], unknown_below: float, timeline: bool) -> Answer:
    def span(start: float, end: float, posterior: np.ndarray) -> Span:
        likeliest = int(posterior.argmax())
        highest = float(posterior[likeliest])
        label = classes[likeliest] if highest >= unknown_below else UNKNOWN
        named = {name: round(float(value), DIGITS) for name, value in zip(classes, posterior)}
        return Span(round(start, 3), round(end, 3), label, round(highest, DIGITS), named)

    spans = map(span, heard.starts.tolist(), heard.ends.tolist(), heard.timeline) if timeline else ()
    return Answer(recording, span(0.0, heard.seconds, heard.posterior), tuple(spans))


def as_dict(answer: Answer) -> dict[str, Any]:
    """An answer for programs."""
    if answer.whole is None:
        return {"recording": answer.recording, "problem": answer.problem}
    whole = answer.whole
    told = {"recording": answer.recording, "seconds": whole.end, "class": whole.label, "posterior": whole.posterior}
    line = [
        {
            "start": span.start,
            "end": span.end,
            "class": span.label,
            "posterior": span.posterior,
            "posteriors": span.posteriors,
        }
        for span in answer.timeline
    ]
    return {**told, "posteriors": whole.posteriors, **({"timeline": line} if line else {})}


def columns(classes: Sequence[str]) -> list[str]:
    """The header of :func:`rows`."""
    return ["recording", "start", "end", "class", "posterior", *(f"posterior of {name}" for name in classes)]


def rows(answer: Answer) -> list[list[str]]:
    """An answer for tables: a row a segment where there is a timeline, else one."""
    spans = answer.timeline or ((answer.whole,) if answer.whole else ())
    return [
        [
            answer.recording,
            *map(str, (span.start, span.end, span.label, span.posterior)),
            *map(str, span.posteriors.values()),
        ]
        for span in spans
    ]


def lines(answer: Answer) -> list[str]:
    """An answer for people."""
    if answer.whole is None:
        return []
    told = [f"{answer.recording}: {_in_words(answer.whole)}"]
    return told + [f"  {span.start:8.2f} to {span.end:8.2f} s  {_in_words(span)}" for span in answer.timeline]


def _in_words(span: Span) -> str:
    (_, first), *others = sorted(span.posteriors.items(), key=lambda item: -item[1])
    second = f" ({others[0][0]} {others[0][1]:.3f})" if others else ""
    likeliest = max(span.posteriors, key=lambda name: span.posteriors[name])
    guess = f", {likeliest} {first:.3f} at best" if span.label == UNKNOWN and likeliest != UNKNOWN else f" {first:.3f}"
    return f"{span.label}{guess}{second}"
