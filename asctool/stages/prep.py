"""prep: a corpus as it lies on disk, checked and brought into the one form that all other stages read."""

import csv
import functools
import io
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asctool import parallel, registry
from asctool.corpora import _folds
from asctool.corpora._corpus import Corpus
from asctool.errors import DataError, UsageError, WouldWrite
from asctool.storage import data_directory, inspection, locks, manifest, rebuild, settings
from asctool.storage.audio import AudioFacts
from asctool.storage.dataset import Clip, FoldRow, Tables, encode_tables
from asctool.storage.download import fetch_all, missing
from asctool.storage.manifest import Recipe
from asctool.storage.rehearsal import Estimate, size
from asctool.storage.shards import plan_shards
from asctool.storage.store import check_output

log = logging.getLogger("asctool")

VERSION = 1
LISTED = 50  # bad files told of one by one
N_FOLDS = 5
INSPECTED_BYTES = 64 << 20  # of files that a task on a cluster decodes: some seconds


@dataclass(frozen=True)
class Settings:
    """How folds are made where the corpus has none, and what is let pass."""

    n_folds: int | None = None  # of a corpus that has no folds; none: 5, or as many as the groups allow
    valid: str | None = None  # "next": the next fold's test clips validate; "0.2": a share of the training groups
    seed: int = 0
    allow_missing_classes: bool = False  # a class without a training clip
    skip_bad: bool = False  # leave out files that cannot be read; they are counted and written to rejected.csv
    max_seconds: float = 600.0  # of a file: a few bytes of flac can hold hours of silence; what is longer is bad

    def __post_init__(self) -> None:
        if self.valid not in (None, "next"):
            _folds.fraction(str(self.valid))
        if self.n_folds is not None and self.n_folds < 2:
            raise UsageError(f"n_folds={self.n_folds}: two at least")
        if not self.max_seconds > 0:
            raise UsageError(f"max_seconds={self.max_seconds}: must be above 0")


def configure(corpus: str, values: dict[str, Any]) -> tuple[Settings, Any]:
    """The settings of the stage and of a corpus, from one mapping of names."""
    own, config = settings.split(values, Settings, registry.load("corpora", corpus).Config)
    return own, config


def download(
    corpus: str,
    source: Path,
    output: Path,
    config: Any,
    progress: parallel.Progress | None = None,
    dry_run: bool = False,
) -> int:
    """Fetch a corpus' archives, check and unpack them into ``source``; how many of them were not there yet."""
    _check_output(output, source)
    module = registry.load("corpora", corpus)
    if not hasattr(module, "archives"):
        raise UsageError(f"--download: {corpus} has no archive with a known md5; put its files into {source} yourself")
    archives = module.archives(config)
    if dry_run and (wanted := missing(archives, source)):
        n_bytes = sum(archive.n_bytes or 0 for archive in wanted)
        told = f"{len(wanted)} of {len(archives)} archives, {size(n_bytes)} as far as their sizes are known"
        raise WouldWrite(f"{source}: prep would fetch {told}, then check the audio")
    return 0 if dry_run else fetch_all(archives, source, progress or parallel.Silent())


def prep(
    corpus: str,
    source: Path,
    output: Path,
    own: Settings,
    config: Any,
    jobs: int | None = None,
    force: bool = False,
    progress: parallel.Progress | None = None,
    dry_run: bool = False,
    scheduler: str | None = None,
) -> bool:
    """Write the data directory of a corpus; False when it is there already, made from the same files.

    Workers of a ``scheduler`` decode the files. There are no parts of it: folds and leakage are matters of all files.
    """
    _check_output(output, source)
    module = registry.load("corpora", corpus)
    if dry_run and hasattr(module, "would_write") and (n_bytes := module.would_write(source, config)):
        raise WouldWrite(f"{source}: prep would write the recordings of {corpus}, {size(n_bytes)}, then check them")
    found: Corpus = module.read(source, config)
    for warning in found.warnings:
        log.warning("%s", warning)
    if found.folds:  # before the audio is decoded, which takes longer
        _refuse_other_folds(source, found, own)
        _folds.check_folds(found.folds, found, None, own.allow_missing_classes)
    paths = sorted({clip.path for clip in found.clips})
    how = parallel.How(jobs, scheduler, progress=progress or parallel.Silent())
    facts, bad = _inspect(paths, own.max_seconds, how)
    if bad and not own.skip_bad:
        raise DataError(_tell(bad))
    clips, rejected = _decoded(found.clips, facts, bad)
    if rejected:
        log.warning(
            "%d files of %d are left out, and with them %d clips of %d: see rejected.csv",
            len(bad),
            len(paths),
            len(rejected),
            len(found.clips),
        )
    if not clips:
        raise DataError(f"{source}: no clip is left")
    kept = {clip.clip_id for clip in clips}
    folds = [row for row in found.folds if row.clip_id in kept]
    folds, warnings = _folds_of(replace(found, clips=tuple(clips), folds=tuple(folds)), own, facts)
    tables = Tables(tuple(clips), tuple(folds), found.classes)
    description = _description(found, tables, facts, own, warnings, rejected)
    recipe = _recipe(corpus, own, config, tables, facts)
    if rebuild.settled(output, recipe, force, dry_run, lambda: _estimate(tables, description)):
        return False
    with locks.writer_lock(output):
        files = {"rejected.csv": _rejected_csv(rejected, bad)} if rejected else {}
        data_directory.write(output, recipe, tables, description, files)
    return True


def _check_output(output: Path, source: Path) -> None:
    """What can be told of the output before archives are fetched and audio is decoded, which may take hours."""
    check_output(output, source)
    rebuild.check_place(output, "prep")
    locks.check_writable(output)


def _refuse_other_folds(source: Path, found: Corpus, own: Settings) -> None:
    """UsageError for a number of folds that is wanted where the corpus has another number of its own."""
    n_own = len({row.fold for row in found.folds})
    if own.n_folds not in (None, n_own):
        folds = f"{found.name} has {n_own} fold{'s' * (n_own != 1)} of its own, which are kept"
        raise UsageError(
            f"{source}: n_folds={own.n_folds}, but {folds}; leave n_folds out: it is for what has no folds"
        )


def _inspect(
    paths: Sequence[str], max_seconds: float, how: parallel.How
) -> tuple[dict[str, AudioFacts], dict[str, str]]:
    """Facts of the files that can be read, reasons of those that cannot; every file is decoded whole."""
    facts: dict[str, AudioFacts] = {}
    bad: dict[str, str] = {}
    how.progress.start("check audio", len(paths), "files")
    for path, result in _inspected(paths, max_seconds, how):
        how.progress.advance(1)
        if isinstance(result, str):
            bad[path] = result
            continue
        facts[path] = result
        for warning in result.warnings:
            log.warning("%s: %s", path, warning)
    return facts, bad


def _inspected(paths: Sequence[str], max_seconds: float, how: parallel.How) -> Iterator[tuple[str, AudioFacts | str]]:
    """Each file with what is found of it: by processes of this machine, or of those of a cluster."""
    if not how.scheduler:
        yield from inspection.inspect_all(paths, max_seconds, parallel.n_processes(how.jobs))
        return
    sizes = [Path(path).stat().st_size if Path(path).is_file() else 0 for path in paths]
    pieces = [tuple(paths[first:end]) for first, end in plan_shards(sizes, INSPECTED_BYTES)]
    there = [Path(path) for path, n_bytes in zip(paths, sizes) if n_bytes][:1]
    work = functools.partial(_inspect_piece, max_seconds=max_seconds)
    for _, found in parallel.run(work, pieces, how, there, lambda piece: f"{piece[0]} to {piece[-1]}"):
        yield from found


def _inspect_piece(paths: Sequence[str], max_seconds: float) -> list[tuple[str, AudioFacts | str]]:
    return list(inspection.inspect_all(paths, max_seconds, processes=1))


def _tell(bad: dict[str, str]) -> str:
    lines = [bad[path] for path in sorted(bad)]
    more = [f"... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    head = f"{len(bad)} files cannot be used; mend or remove them, or leave them out with --skip-bad:"
    return "\n  ".join([head, *lines[:LISTED], *more])


def _decoded(clips: Sequence[Clip], facts: dict[str, AudioFacts], bad: dict[str, str]) -> tuple[list[Clip], list[Clip]]:
    """Clips with their true durations, and those whose file is bad."""
    good, rejected, outside = [], [], []
    for clip in clips:
        if clip.path in bad:
            rejected.append(clip)
            continue
        found = facts[clip.path]
        left = found.duration - clip.start
        duration = min(clip.duration, left) if clip.duration else left
        if left <= 0 or clip.duration > left + 0.01:
            outside.append(
                f"{clip.clip_id}: {clip.start} s + {clip.duration} s, but {clip.path} has {found.duration:.3f} s"
            )
        elif round(duration * found.sample_rate) < 1:
            outside.append(f"{clip.clip_id}: no sample of {clip.path} lies in {duration:g} s")
        good.append(replace(clip, duration=duration))
    if outside:
        raise DataError("\n  ".join(["clips that are not in their files:", *outside[:LISTED]]))
    return good, rejected


def _folds_of(corpus: Corpus, own: Settings, facts: dict[str, AudioFacts]) -> tuple[list[FoldRow], tuple[str, ...]]:
    folds = list(corpus.folds)
    content = {c.clip_id: f"{facts[c.path].sha256} {c.start} {c.duration}" for c in corpus.clips}
    warnings = _warned(_folds.contradictions(corpus.clips, content))  # also where the folds are then refused
    if not folds and any(clip.labels for clip in corpus.clips):
        made, fewer = _folds.make_possible_folds(corpus.clips, own.n_folds or N_FOLDS, own.seed)
        folds, warnings = list(made), (*warnings, *_warned(fewer))
    if not folds:
        return [], warnings
    if own.valid:
        folds = list(_folds.add_validation(folds, corpus.clips, own.valid, own.seed))
    checked = _folds.check_folds(folds, corpus, content, own.allow_missing_classes)
    return folds, (*warnings, *_warned(checked))


def _warned(warnings: Sequence[str]) -> tuple[str, ...]:
    for warning in warnings:
        log.warning("%s", warning)
    return tuple(warnings)


def _description(
    corpus: Corpus,
    tables: Tables,
    facts: dict[str, AudioFacts],
    own: Settings,
    warnings: tuple[str, ...],
    rejected: Sequence[Clip],
) -> dict[str, Any]:
    used = sorted({clip.path for clip in tables.clips})
    return {
        "name": corpus.name,
        "licence": corpus.licence,
        "clips": len(tables.clips),
        "seconds": round(sum(clip.duration for clip in tables.clips), 3),
        "classes": dict(Counter(label for clip in tables.clips for label in clip.labels)),
        "sample_rates": dict(Counter(str(facts[path].sample_rate) for path in used)),
        "folds": {
            "numbers": tables.fold_numbers,
            "official": corpus.official_folds,
            "note": corpus.fold_note
            if corpus.folds
            else f"made: {len(tables.fold_numbers)} grouped, stratified folds, seed {own.seed}",
            "validation": own.valid or "none",
        },
        "warnings": [*corpus.warnings, *warnings],
        "max_seconds": own.max_seconds,
        "rejected": len(rejected),
        "files": {path: facts[path].as_dict() for path in used},
    }


def _recipe(corpus: str, own: Settings, config: Any, tables: Tables, facts: dict[str, AudioFacts]) -> Recipe:
    options = {"corpus": corpus, **settings.as_dict(own), "n_folds": own.n_folds or N_FOLDS, **settings.as_dict(config)}
    del options["max_seconds"]  # decides nothing but what is refused, and the files that are not are inputs
    options = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    content = [f"{path} {facts[path].sha256}" for path in sorted({clip.path for clip in tables.clips})]
    inputs = {
        "audio": manifest.content_hash(*content),
        "tables": manifest.hash_tables(tables),
    }
    return Recipe("data", "prep", VERSION, options, inputs)


def _estimate(tables: Tables, description: dict[str, Any]) -> Estimate:
    return Estimate(sum(map(len, encode_tables(tables).values())) + len(json.dumps(description, indent=1)))


def _rejected_csv(rejected: Sequence[Clip], bad: dict[str, str]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["clip_id", "path", "reason"])
    writer.writerows([clip.clip_id, clip.path, bad[clip.path]] for clip in rejected)
    return text.getvalue().encode()
