"""Varied copies of the clips of a data directory, whose tables gain them."""

import contextlib
import io
import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asctool import parallel, registry
from asctool.errors import DataError, UsageError, WouldWrite
from asctool.stages.augment.plan import VERSION, Copies, Plan
from asctool.storage import atomic, audio, data_directory, locks, manifest, parts, rebuild
from asctool.storage.data_directory import DataDirectory, check_audio
from asctool.storage.dataset import Clip, Tables, encode_tables
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.rehearsal import Estimate
from asctool.storage.shards import HASH_DIGITS, plan_shards

COPIES_NAME = "copies-"  # then 12 digits of the fingerprint, or of what stands for a forced rebuild
MAX_NAME = 60  # characters of a clip id in the name of a file
log = logging.getLogger("asctool")


@dataclass(frozen=True)
class _Copy:
    """A varied copy that was written, and what ``dataset.json`` says of its file."""

    clip: Clip
    file: dict[str, Any]


def write_copies(
    source: Path,
    output: Path,
    plan: Plan,
    how: parallel.How,
    force: bool,
    dry_run: bool,
) -> bool | None:
    """Labels and folds that changed bring the tables up to date and leave the copies."""
    data = DataDirectory(source)
    sources = _sources(data.tables)
    if not sources:
        raise DataError(f"{source}: no clip trains in any fold, so that there is none to vary")
    wanted = [copy.clip_id for clip in sources for copy in _planned(clip, plan)]
    taken = sorted(set(wanted) & set(data.tables.by_id))
    if taken:
        raise UsageError(f"{source}: holds such copies already ({taken[0]}); give the data that they were made from")
    recipe = _recipe(data, sources, plan)
    ranges = plan_shards([_n_bytes(data, clip, plan) for clip in sources])
    if rebuild.settled(output, recipe, force, dry_run, lambda: _estimate(data, sources, plan, ranges), how.part):
        return _update_tables(data, output, recipe, sources, plan, dry_run, how.part)
    with parts.writer(output, recipe, how.part):
        tag = rebuild.tag(output, recipe) if force else recipe.fingerprint
        directory = output / f"{COPIES_NAME}{tag[:12]}"
        atomic.make_directory(directory)
        work = _Work(source, directory, tuple(ranges), plan)
        files = (parts.mark(output, how.part), *data.witnesses)
        made: dict[int, list[_Copy]] = {}

        def make(indices: Sequence[int]) -> None:
            """Make the copies of some ranges, or look at those that are there."""
            how.progress.start("augment", sum(ranges[i][1] - ranges[i][0] for i in indices), "clips")
            with contextlib.closing(parallel.run(work, indices, how, files, work.name)) as results:
                for index, copies in results:
                    made[index] = copies
                    how.progress.advance(ranges[index][1] - ranges[index][0])

        def commit() -> None:
            make([index for index in range(len(ranges)) if index not in made])
            _write(data, output, recipe, [copy for index in sorted(made) for copy in made[index]])
            _remove_older(output, directory)

        make(parts.share(len(ranges), how.part))
        return parts.finish(output, how.part, len(ranges), work.absent, commit)


def _sources(tables: Tables) -> list[Clip]:
    """Originals that train in some fold: no other recording is ever listened to."""
    trains = {row.clip_id for row in tables.folds if row.subset == "train"}
    return [clip for clip in tables.clips if clip.clip_id in trains and not clip.is_copy]


def _planned(clip: Clip, plan: Plan) -> Iterator[Clip]:
    """The copies of a clip, yet without a file."""
    assert isinstance(plan.own, Copies)
    for method in plan.methods:
        for number in range(1, plan.own.copies + 1):
            name = f"{clip.clip_id}-{method}-{number}"
            yield replace(clip, clip_id=name, path="", start=0.0, source_clip_id=clip.clip_id, method=method)


def _recipe(data: DataDirectory, sources: Sequence[Clip], plan: Plan) -> Recipe:
    inputs = {"data": data.content(), "sources": manifest.content_hash(*(clip.clip_id for clip in sources))}
    return Recipe("data", "augment", VERSION, {"method": list(plan.methods), **plan.options}, inputs)


def _n_bytes(data: DataDirectory, clip: Clip, plan: Plan) -> int:
    """Bytes of a clip's copies, had they its length."""
    n_copies = sum(1 for _ in _planned(clip, plan))
    return int(clip.duration * data.sample_rate(clip)) * data.channels(clip) * 2 * n_copies


def _estimate(data: DataDirectory, sources: Sequence[Clip], plan: Plan, ranges: Sequence[object]) -> Estimate:
    """Of the copies, as if none became longer or shorter, and of what the tables say of each."""
    n_copies = sum(1 for clip in sources for _ in _planned(clip, plan))
    tables = sum(entry.stat().st_size for entry in data.path.iterdir() if entry.is_file())
    share = 1 + n_copies / len(data.tables.clips)
    return Estimate(sum(_n_bytes(data, clip, plan) for clip in sources) + share * tables, n_pieces=len(ranges))


@dataclass(frozen=True)
class _Work:
    """Makes the copies of a range of clips; travels to the processes that do."""

    data_directory: Path
    directory: Path  # of the copies
    ranges: tuple[tuple[int, int], ...]
    plan: Plan

    @cached_property
    def data(self) -> DataDirectory:
        return DataDirectory(self.data_directory)

    @cached_property
    def sources(self) -> list[Clip]:
        return _sources(self.data.tables)

    def __call__(self, index: int) -> list[_Copy]:
        there, places = self._there(), range(*self.ranges[index])
        return [copy for place in places for copy in self._copies(place, there)]

    def name(self, index: int) -> str:
        """What a range is called in messages."""
        first, end = self.ranges[index]
        return f"piece {index + 1} of {len(self.ranges)} (copies of clips {first + 1} to {end})"

    def absent(self) -> list[int]:
        """Ranges of which a copy has no file yet, be it whole or not."""
        there = self._there()
        wanted = ([_stem(p, c) for p in range(*r) for c in _planned(self.sources[p], self.plan)] for r in self.ranges)
        return [index for index, stems in enumerate(wanted) if not all(stem in there for stem in stems)]

    def _there(self) -> dict[str, Path]:
        return {path.stem.rpartition("-")[0]: path for path in self.directory.glob("*.wav")}

    def _copies(self, place: int, there: dict[str, Path]) -> Iterator[_Copy]:
        """The copies of a clip; those that are there whole are left as they are."""
        read: tuple[np.ndarray, int] | None = None
        source = self.sources[place]
        for planned in _planned(source, self.plan):
            stem = _stem(place, planned)
            path = there.get(stem)
            if path is None or not _is_whole(path):
                read = read or audio.read(check_audio(self.data, source), source.start, source.duration)
                path = self._write(stem, self._vary(*read, planned), read[1])
            facts = audio.inspect(path)
            where = f"{self.directory.name}/{path.name}"
            yield _Copy(replace(planned, path=where, duration=facts.duration), facts.as_dict())

    def _vary(self, samples: np.ndarray, rate: int, copy: Clip) -> np.ndarray:
        """Drawn from the seed and the copy's id, which holds the clip's, the method and the number."""
        module, config = registry.load("transforms", copy.method), self.plan.methods[copy.method]
        generator = np.random.default_rng([self.plan.own.seed, *copy.clip_id.encode()])
        return np.asarray(module.apply(samples, rate, module.draw(generator, config)))

    def _write(self, stem: str, samples: np.ndarray, rate: int) -> Path:
        content = _encode_wav(samples, rate)
        path = self.directory / f"{stem}-{atomic.sha256(content)[:HASH_DIGITS]}.wav"
        atomic.write_bytes(path, content, "wav")
        return path


def _stem(place: int, copy: Clip) -> str:
    """What the name of a copy's file begins with."""
    return f"{place:06d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', copy.clip_id)[-MAX_NAME:]}"


def _is_whole(path: Path) -> bool:
    """Whether a copy is what was written, by the hash in its name; a damaged one is removed with a warning."""
    if atomic.sha256_file(path)[:HASH_DIGITS] == path.stem.rpartition("-")[2]:
        return True
    log.warning("%s: is damaged; it is made again", path)
    path.unlink()
    return False


def _encode_wav(samples: np.ndarray, rate: int) -> bytes:
    """(channel, sample) as 16-bit wav; what overshoots is turned down as a whole, for clipping would be heard.

    Not as floats: libsndfile puts the time of day into such files, and decoding takes 1.4 times as long.
    """
    import soundfile

    levels = samples.T * (1 / max(1.0, float(np.abs(samples).max(initial=0.0))))
    file = io.BytesIO()
    soundfile.write(file, np.round(levels * 32767).astype(np.int16), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _write(data: DataDirectory, output: Path, recipe: Recipe, copies: Sequence[_Copy]) -> None:
    tables = _tables(data, output, [copy.clip for copy in copies])
    description = _description(data, output, recipe, tables, copies)
    data_directory.write(output, recipe, tables, description, paths={"data": manifest.relative(data.path, output)})


def _tables(data: DataDirectory, output: Path, copies: Sequence[Clip]) -> Tables:
    clips = tuple(replace(clip, path=_seen_from(output, data, clip.path)) for clip in data.tables.clips)
    return replace(data.tables, clips=clips).with_copies(copies)


def _seen_from(output: Path, data: DataDirectory, path: str) -> str:
    """A path of the input's tables as it stands in the output's: absolute ones stay."""
    return path if Path(path).is_absolute() else os.path.relpath(data.path / path, output)


def _description(
    data: DataDirectory, output: Path, recipe: Recipe, tables: Tables, copies: Sequence[_Copy]
) -> dict[str, Any]:
    files = {_seen_from(output, data, path): entry for path, entry in data.description["files"].items()}
    files |= {copy.clip.path: copy.file for copy in copies}
    return {
        **data.description,
        "clips": len(tables.clips),
        "seconds": round(sum(clip.duration for clip in tables.clips), 3),
        "classes": dict(Counter(label for clip in tables.clips for label in clip.labels)),
        "sample_rates": dict(Counter(str(entry["sample_rate"]) for entry in files.values())),
        "copies": {**data.description.get("copies", {}), **Counter(copy.clip.method for copy in copies)},
        "files": files,
    }


def _update_tables(
    data: DataDirectory,
    output: Path,
    recipe: Recipe,
    sources: Sequence[Clip],
    plan: Plan,
    dry_run: bool,
    part: Part | None,
) -> bool:
    """Rewrite the tables of a data directory whose copies are right; whether there was anything to rewrite."""
    if _outdated(data, output, sources, plan) is None:
        return False
    if dry_run:
        raise WouldWrite(f"{output}: its copies are there; augment would bring its tables up to date")
    with parts.in_turn(output, part):
        copies = _outdated(data, output, sources, plan)  # another part may have been first
        if copies is not None:
            _write(data, output, recipe, copies)
    return True


def _outdated(data: DataDirectory, output: Path, sources: Sequence[Clip], plan: Plan) -> list[_Copy] | None:
    """The copies that are there, if the tables around them are no longer what they would be made to."""
    old, copies = DataDirectory(output), []
    for planned in (copy for clip in sources for copy in _planned(clip, plan)):
        was = old.tables.by_id[planned.clip_id]
        clip = replace(planned, path=was.path, duration=was.duration)
        copies.append(_Copy(clip, old.description["files"][was.path]))
    tables = _tables(data, output, [copy.clip for copy in copies])
    return None if encode_tables(tables) == encode_tables(old.tables) else copies


def _remove_older(output: Path, kept: Path) -> None:
    """Remove copies that no table names any more, unless somebody reads them."""
    with locks.without_readers(output) as alone:
        for path in output.glob(f"{COPIES_NAME}*") if alone else ():
            if path != kept and re.fullmatch(f"{COPIES_NAME}[0-9a-f]{{12}}", path.name):
                shutil.rmtree(path, ignore_errors=True)
