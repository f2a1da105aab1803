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
from asctool.storage.dataset import join_labels

if TYPE_CHECKING:
    from asctool.training.hearing import Stretch
    from asctool.training.predictor import Piece, Predictor

PIECE_SECONDS = 32.0  # of a recording at once: what is shorter is computed as denoise and featurize compute it
STANDARD_INPUT = "-"
UNKNOWN = "unknown"
DIGITS = 6  # of a posterior, behind the point
TAG_LIMIT = 0.5  # from which score on a label is told: where binary cross-entropy has it as likely as not
MORE_TAGS = 2  # labels below the limit that people are told of


@dataclass(frozen=True)
class Span:
    """A part of a recording, or all of it, and what it sounds like."""

    start: float  # seconds
    end: float
    labels: tuple[str, ...]  # the likeliest class, of tags all that reach the limit; none where nothing does
    posterior: float  # of the likeliest class or label
    posteriors: dict[str, float]  # of all; scores of tags, each by itself


@dataclass(frozen=True)
class Answer:
    """What a recording sounds like as a whole, or one segment of it, or why it cannot be told."""

    recording: str
    span: Span | None = None
    segment: int = 0  # its number, counted from 1; 0: as a whole
    is_tagged: bool = False
    problem: str = ""


def check_options(rule: str | None, unknown_below: float | None) -> None:
    """UsageError for what no model can do, before one is read."""
    if rule is not None and rule not in fusion.RULES:
        raise UsageError(registry.unknown("rule", rule, list(fusion.RULES)))
    if unknown_below is not None and not 0 <= unknown_below <= 1:
        raise UsageError(f"--unknown-below {unknown_below:g}: a probability, from 0 to 1")


def open_models(models: Sequence[Path], device: str = "auto", rule: str | None = None) -> "Predictor":
    """Runs, results and bundles with all that they stand on, ready to hear; all of them are joined."""
    from asctool.training import portable
    from asctool.training.predictor import Predictor

    return Predictor(portable.gather(models), device, rule)


def predict(
    recordings: Sequence[str], predictor: "Predictor", unknown_below: float | None = None, timeline: bool = False
) -> Iterator[Answer]:
    """An answer a recording as they come; files, whole folders, ``-`` for standard input.

    With ``timeline`` one of each of its segments before it, of a long recording while it is read. A bad file gets an
    answer that says what is wrong with it, and the others theirs.
    """
    from asctool.training.hearing import Heard

    limit = (TAG_LIMIT if predictor.is_tagger else 0.0) if unknown_below is None else unknown_below
    names: deque[str] = deque()  # of those that are on their way
    segment = 0
    for heard in predictor.hear_each(_pieces(recordings, names), timeline):
        name = names[0]
        if isinstance(heard, DataError):
            yield Answer(shown(name), problem=str(heard))
        else:
            for span in _spans(heard, predictor, limit) if timeline else ():
                segment += 1
                yield Answer(shown(name), span, segment, predictor.is_tagger)
            if isinstance(heard, Heard):
                whole = _span(0.0, heard.seconds, heard.posterior, predictor, limit)
                yield Answer(shown(name), whole, 0, predictor.is_tagger)
        if isinstance(heard, Heard | DataError):  # the end of one
            names.popleft()
            segment = 0


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
        try:
            yield from audio.pieces(file, PIECE_SECONDS)
        except DataError as error:  # without the name of the file, which stands beside the answer
            reason = str(error).removeprefix(f"{file}: ").removeprefix(f"{str(file)!a}: ")
            raise DataError(reason) from error


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


def _spans(heard: "Stretch", predictor: "Predictor", limit: float) -> Iterator[Span]:
    for start, end, posterior in zip(heard.starts.tolist(), heard.ends.tolist(), heard.timeline):
        yield _span(start, end, posterior, predictor, limit)


def _span(start: float, end: float, posterior: np.ndarray, predictor: "Predictor", limit: float) -> Span:
    """What posteriors (class,) or scores of tags say, where something reaches the limit."""
    highest = float(posterior.max())
    if predictor.is_tagger:
        order = np.argsort(-posterior, kind="stable")
        labels = tuple(predictor.classes[i] for i in order if posterior[i] >= limit)
    else:
        labels = (predictor.classes[int(posterior.argmax())],) if highest >= limit else ()
    named = {name: round(float(value), DIGITS) for name, value in zip(predictor.classes, posterior)}
    return Span(round(start, 3), round(end, 3), labels, round(highest, DIGITS), named)


def as_dict(answer: Answer) -> dict[str, Any]:
    """An answer for programs: one with ``start`` and ``end`` is of a segment."""
    span = answer.span
    if span is None:
        return {"recording": answer.recording, "problem": answer.problem}
    when = {"start": span.start, "end": span.end} if answer.segment else {"seconds": span.end}
    if answer.is_tagged:
        return {"recording": answer.recording, **when, "labels": list(span.labels), "scores": span.posteriors}
    label = span.labels[0] if span.labels else UNKNOWN
    told = {"class": label, "posterior": span.posterior, "posteriors": span.posteriors}
    return {"recording": answer.recording, **when, **told}


def columns(predictor: "Predictor") -> list[str]:
    """The header of :func:`row`."""
    label, value = ("labels", "score") if predictor.is_tagger else ("class", "posterior")
    return ["recording", "start", "end", label, value, *(f"{value} of {name}" for name in predictor.classes)]


def row(answer: Answer) -> list[str]:
    """An answer for tables; several labels are joined as in clips.csv."""
    span = answer.span
    if span is None:
        return []
    labels = (join_labels(span.labels) if answer.is_tagged else "".join(span.labels)) or UNKNOWN
    numbers = map(str, (span.posterior, *span.posteriors.values()))
    return [answer.recording, str(span.start), str(span.end), labels, *numbers]


def lines(answer: Answer) -> list[str]:
    """An answer for people; above the first segment stands whose it is."""
    span = answer.span
    if span is None:
        return []
    words = _tags_in_words(span) if answer.is_tagged else _in_words(span)
    if not answer.segment:
        return [f"{answer.recording}: {words}"]
    return [f"{answer.recording}:"] * (answer.segment == 1) + [f"  {span.start:8.2f} to {span.end:8.2f} s  {words}"]


def _in_words(span: Span) -> str:
    (likeliest, first), *others = sorted(span.posteriors.items(), key=lambda item: -item[1])
    second = f" ({others[0][0]} {others[0][1]:.3f})" if others else ""
    return (f"{likeliest} {first:.3f}" if span.labels else f"{UNKNOWN}, {likeliest} {first:.3f} at best") + second


def _tags_in_words(span: Span) -> str:
    """Labels with their scores, and in brackets the next ones below the limit."""
    order = sorted(span.posteriors.items(), key=lambda item: -item[1])
    shown = [f"{name} {score:.3f}" for name, score in order]
    n_told = sum(name in span.labels for name, _ in order)
    more = f" ({', '.join(shown[n_told : n_told + MORE_TAGS])})" if n_told < len(shown) else ""
    return (", ".join(shown[:n_told]) or UNKNOWN) + more
