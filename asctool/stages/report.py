"""report: results and runs as one page to open offline: tables, curves, confusions, the clips that were mistaken."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asctool import __version__, parallel
from asctool.errors import DataError, UsageError
from asctool.evaluation import protocol
from asctool.report_page.values import Card, Page, Source, Training
from asctool.storage import atomic, manifest, origins, posteriors, rehearsal, settings
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import Tables
from asctool.storage.manifest import Recipe
from asctool.storage.origins import Followed, Origin
from asctool.storage.run import HISTORY, Run

VERSION = 1
KINDS = ("posterior", "run", "attention")
SUFFIXES = (".html", ".htm")
MAX_BYTES = 15_000_000  # of the page: what a browser opens at once, and most mail still carries
HEAD_BYTES = 4096  # in which a page says what it was made from
_FINGERPRINT = re.compile(rb'<meta name="asctool-report" content="([0-9a-f]{64})">')


@dataclass(frozen=True)
class Settings:
    """What is on the page."""

    title: str = "Results"
    clips: tuple[str, ...] = ()  # with sound and spectrogram, whatever the systems make of them
    listen: int = 60  # misclassified clips with sound and spectrogram; fewer where the page would be too large
    allow_missing: bool = False  # show systems that lack rows of test clips
    by: tuple[str, ...] = ()  # columns of clips.csv: a table of each, as city or device
    compare: tuple[str, ...] = ()  # names of two systems: is their difference luck?

    def __post_init__(self) -> None:
        if len(self.compare) not in (0, 2):
            raise UsageError(f"compare={', '.join(self.compare)}: the names of two systems")
        if self.listen < 0:
            raise UsageError(f"listen={self.listen}: 0 at least")


@dataclass(frozen=True)
class _Given:
    """Posteriors, and everything that these and other inputs were made from."""

    posteriors: tuple[Path, ...]
    followed: Followed
    data: tuple[DataDirectory, ...]


def configure(values: Mapping[str, Any]) -> Settings:
    """The settings of the stage."""
    return settings.build(Settings, values)


def report(
    inputs: Sequence[Path],
    output: Path,
    own: Settings,
    data: Path | None = None,
    jobs: int | None = None,
    force: bool = False,
    progress: parallel.Progress | None = None,
    dry_run: bool = False,
) -> bool:
    """Write the page of posteriors, runs and stores of attention; False when it is there, made from the same.

    Runs, features and recordings are found where the inputs say that they lie, recordings in ``data`` (a data
    directory) first. What is gone is told on the page.
    """
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{output}: the page comes last, and its name must end in {' or '.join(SUFFIXES)}")
    given = _open(inputs, data)
    recipe = _recipe(inputs, own, given)
    if _is_there(output, recipe, force):
        return False
    if dry_run:
        rehearsal.rehearse_file(output, "report", MAX_BYTES)
    from asctool.report_page import render

    page = Page(own.title, f"asctool {__version__}", recipe.fingerprint, _sources(inputs, given))
    page = replace(page, trainings=_trainings(given.followed.of_kind("run")))
    if (own.by or own.compare) and not given.posteriors:
        raise UsageError("--by, --compare: runs alone have no posteriors; give what fuse wrote too")
    if given.posteriors:
        page = _with_systems(page, own, given, jobs, progress or parallel.Silent())
    written = render.render(page)
    if len(written) > MAX_BYTES:
        raise UsageError(f"{output}: would take {len(written)} bytes, {MAX_BYTES} at most; give fewer systems at once")
    atomic.write_bytes(output, written)
    return True


def _open(inputs: Sequence[Path], data: Path | None) -> _Given:
    kinds = {path: manifest.read(path)["kind"] for path in inputs}
    if "tag" in kinds.values():
        raise UsageError("the page is of clips with one class each, and tags are several: asctool score judges them")
    kinds = {path: manifest.read(path, *KINDS)["kind"] for path in inputs}
    # What is behind the last, which is shown first, comes first.
    followed = origins.follow(list(reversed(kinds)), with_tags=False)
    found = [DataDirectory(data)] if data else []
    found += [DataDirectory(origin.path) for origin in followed.of_kind("data")]
    return _Given(tuple(path for path, kind in kinds.items() if kind == "posterior"), followed, tuple(found))


def _recipe(inputs: Sequence[Path], own: Settings, given: _Given) -> Recipe:
    """What decides the page: its inputs, and how much of what they were made from is there."""
    contents = {f"input {i + 1}": str(manifest.read(path)["fingerprint"]) for i, path in enumerate(inputs)}
    behind = sorted(str(origin.manifest["fingerprint"]) for origin in given.followed.origins)
    recordings = [directory.content() for directory in given.data]
    contents["what these came from"] = manifest.content_hash(*behind, *recordings)
    return Recipe("report", "report", VERSION, settings.as_dict(own), contents)


def _is_there(output: Path, recipe: Recipe, force: bool) -> bool:
    """Whether this very page is there; UsageError when another file is, and nothing is forced."""
    if force or not output.exists():
        return False
    found = None
    if output.is_file():
        with output.open("rb") as file:
            found = _FINGERPRINT.search(file.read(HEAD_BYTES))
    if found is None:
        raise UsageError(f"{output}: is there already, and is no report; give another name or --force")
    if found[1].decode() != recipe.fingerprint:
        raise UsageError(f"{output}: is a report of other results or with other options; give another name or --force")
    return True


def _sources(inputs: Sequence[Path], given: _Given) -> tuple[Source, ...]:
    """What was given, in its order, then what is behind it."""
    names = {path.resolve(): str(path) for path in inputs}
    by_path = {origin.path.resolve(): origin for origin in given.followed.origins}
    order = [*names, *(path for path in by_path if path not in names)]
    return tuple(
        Source(
            names.get(path, f"{path.parent.name}/{path.name}"),
            str(by_path[path].manifest.get("made_by", {}).get("command", "")),
            path in names,
        )
        for path in order
    )


def _trainings(runs: Sequence[Origin]) -> tuple[Training, ...]:
    """The history of each run; two of one network, feature and fold are told apart by where they lie."""
    found: list[Training] = []
    taken: set[tuple[str, int]] = set()
    for origin in runs:
        run = Run(origin.path)
        name, fold = f"{run.config['model']} {run.config['features']['type']}", int(run.config["fold"])
        if (name, fold) in taken:
            name = f"{name}, {origin.path.parent.name}/{origin.path.name}"
        taken.add((name, fold))
        history = list(csv.DictReader(io.StringIO(run.read_file(HISTORY).decode())))
        if history:
            series = {key: tuple(float(row[key]) for row in history) for key in history[0]}
            found.append(Training(name, fold, protocol.selected_on_test(run.manifest["protocol"]), series))
    return tuple(sorted(found, key=lambda training: (training.system, training.fold)))


def _with_systems(page: Page, own: Settings, given: _Given, jobs: int | None, progress: parallel.Progress) -> Page:
    """The page with everything that posteriors say."""
    from asctool.report_page import judged

    loaded = posteriors.load(given.posteriors, subsets=("test",))
    if not loaded.blocks:
        raise DataError(f"{', '.join(map(str, given.posteriors))}: no test rows")
    warnings = judged.warnings(loaded, own.allow_missing)
    systems = judged.systems(loaded, own.by)
    more = judged.more(systems, loaded, own.compare)
    page = replace(page, classes=loaded.tables.classes, systems=systems, more=more, warnings=warnings)
    return _with_clips(page, loaded.tables, own, given, jobs, progress)


def _with_clips(
    page: Page, tables: Tables, own: Settings, given: _Given, jobs: int | None, progress: parallel.Progress
) -> Page:
    """The page with as many clips as it has room for, and a word on what could not be found."""
    from asctool.report_page import clips, render
    from asctool.report_page.pictures import pictures

    for clip_id in own.clips:
        if clip_id not in tables.by_id:
            raise UsageError(f"--clip {clip_id}: there is no such clip; the first one is {next(iter(tables.by_id))}")
    ids = clips.chosen(page, own.clips, own.listen)
    folds = clips.fold_of(page)
    seen = pictures(given.followed, {clip_id: folds[clip_id] for clip_id in ids if clip_id in folds})
    wrong = clips.mistaken_by_last(page)
    progress.start("clips", len(ids), "clips")
    room = MAX_BYTES - len(render.render(page)) - len(str(given.followed.lost))
    cards: list[Card] = []
    wanted = [(tables.by_id[clip_id], always) for clip_id, always in ids.items()]
    for card in clips.cards(wanted, wrong, clips.Recordings(given.data), seen, jobs):
        progress.advance(1)
        room -= card.size
        if room > 0:
            cards.append(card)
    notes = [*given.followed.lost, *seen.problems]
    if not given.data and any(card.sound for card in cards):
        notes.append(clips.UNCHECKED)
    not_shown = len(wrong - {card.clip_id for card in cards})
    return replace(page, cards=tuple(cards), not_shown=not_shown, notes=tuple(notes))
