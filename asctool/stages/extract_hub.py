"""extract --model: tags or embeddings by a network of Hugging Face, which takes sound in the place of features."""

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asctool import parallel
from asctool.errors import UsageError
from asctool.storage import audio, manifest, parts, rebuild, tags
from asctool.storage.manifest import Recipe
from asctool.storage.parts import Part
from asctool.storage.recordings import OfData, OfStore, open_recordings
from asctool.storage.rehearsal import Estimate, of_rows
from asctool.storage.shards import ShardWriter, Written
from asctool.storage.store import StoreWriter, check_output

if TYPE_CHECKING:
    from asctool.training.hub import Found, HubNetwork

VERSION = 1
AXES = {"embedding": "dimension", "tag": "label"}  # the kinds that there are
log = logging.getLogger("asctool")


def extract(
    model: str,
    recordings: Path,
    output: Path,
    kind: str,
    activation: str = "auto",
    system: str | None = None,
    device: str = "auto",
    force: bool = False,
    dry_run: bool = False,
    verify: bool = True,
    scheduler: str | None = None,
    part: Part | None = None,
    progress: parallel.Progress | None = None,
) -> bool | None:
    """Write what the network ``hf:FOLDER`` or ``hf:NAME`` makes of recordings; False when it is there already.

    ``recordings``: a data directory, of which each clip gives a row, or waveforms, of which each row does; of tags each
    clip, the mean of its rows. They are brought to one channel and the network's rate; what is longer than it takes at
    once is cut and averaged. It was trained on nothing here, so that rows are of no fold. None while other parts are
    yet to be written.
    """
    recordings, output = recordings.resolve(), output.resolve()  # workers may stand elsewhere
    check_output(output, recordings)
    if kind not in AXES:
        raise UsageError(f"--kind {kind}: a network of Hugging Face gives {' or '.join(AXES)}")
    from asctool.training import hub

    found, source = hub.find(model), open_recordings(recordings, verify)
    system = system or found.short_name
    activation = found.activation(activation) if kind == "tag" else ""
    config = {"kind": kind, "system": system} | ({"activation": activation} if activation else {})
    inputs = {"model": found.content, "recordings": source.content, "tables": manifest.hash_tables(source.tables)}
    recipe = Recipe(kind, "extract", VERSION, config, inputs)
    work = _Work(found, recordings, kind, activation, system, device, verify, all_cores=scheduler is None)
    if rebuild.settled(output, recipe, force, dry_run, work.estimate, part):
        return False
    with parts.writer(output, recipe, part):
        work.say_rates()
        writer = StoreWriter(output, recipe, len(source.plan), force)
        how = parallel.How(1, scheduler, part, threads=None, progress=progress or parallel.Silent())
        files = (parts.mark(output, part), recordings / manifest.NAME, *found.files)
        parallel.make_shards(replace(work, shards=writer.shards), writer, source.plan, f"extract {kind}", how, files)
        described: dict[str, Any] = {
            "axes": ["row", AXES[kind]],
            "level": "clip" if kind == "tag" else "segment",
            "systems": [system],
            "protocol": {system: {"select": "trained elsewhere"}},
            "model": found.identity | {"sample_rate": work.network.rate, "window_samples": work.network.window},
            "paths": {"recordings": manifest.relative(recordings, output)},
        }
        if kind == "tag":
            described |= {"labels": list(work.network.labels), "tagger": found.content}
        return parts.finish(
            output, part, len(source.plan), writer.shards.absent, lambda: writer.finish(source.tables, **described)
        )


@dataclass(frozen=True)
class _Work:
    """Makes one shard; travels to the workers of a cluster, each of which loads the network once."""

    found: "Found"
    recordings: Path
    kind: str
    activation: str
    system: str
    device: str
    verify: bool
    all_cores: bool  # or one: a cluster has a worker for each
    shards: ShardWriter | None = None

    @cached_property
    def source(self) -> OfData | OfStore:
        return open_recordings(self.recordings, self.verify)

    @cached_property
    def network(self) -> "HubNetwork":
        import torch

        from asctool.training import devices, hub

        if self.all_cores:
            devices.use_all_cores()
        else:
            torch.set_num_threads(1)
        return hub.load(self.found, self.kind, self.activation, devices.choose(self.device))

    def estimate(self) -> Estimate:
        """Of as many values a clip as the network gives for a second of silence."""
        row_bytes = self.network(np.zeros(self.network.rate, np.float32)).nbytes
        tables, plan = self.source.tables, self.source.plan
        return Estimate(of_rows(tables, len(tables.clips), row_bytes, self.system), len(plan))

    def say_rates(self) -> None:
        """Nothing is missing where recordings have a lower rate than the network, but what it was taught by is."""
        lower = [rate for rate in sorted(self.source.rates) if rate < self.network.rate]
        if lower:
            log.warning(
                "%s: %d Hz, where %s was trained on %d Hz: it hears nothing above %d Hz",
                *(self.recordings, lower[0], self.found.short_name, self.network.rate, lower[0] // 2),
            )

    def __call__(self, index: int) -> Written:
        assert self.shards is not None
        clip_ids, starts, rows = [], [], []
        for one in self.source.read(index):
            mono = audio.resample(audio.to_mono(one.samples), one.rate, self.network.rate)[0]
            clip_ids.append(one.clip_id)
            starts.append(one.start)
            rows.append(self.network(mono))
        columns = {"clip_id": np.array(clip_ids), "start": np.array(starts), "array": np.stack(rows)}
        return self.shards.write(index, tags.of_clips(columns) if self.kind == "tag" else columns)
