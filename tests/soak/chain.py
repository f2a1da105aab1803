"""A chain of all writing stages over a corpus of seconds, and what is asked of an output that was interrupted."""

import atexit
import functools
import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asctool.errors import AsctoolError
from asctool.stages.verify import verify
from asctool.storage import manifest
from asctool.storage.data_directory import DataDirectory
from soak.server import Outcome, Server

FEATURES = ("--type", "logmel", "--set", "sample_rate=16000", "--set", "segment_frames=16", "--delta")
CORPUS = ("n_clips_per_class=2", "n_recordings_per_class=2", "seconds=0.8", "sample_rate=16000", "n_folds=2")
NETWORK = ("--model", "cnn", "--fold", "1", "--set", "filters=[2, 4, 4]", "--seed", "3")
EVERY_EPOCH = {"asctool.stages.train.CHECKPOINT_SECONDS": 0.0}
KEPT_FROM_EACH_OTHER = ("history.csv", "curves.png", "events.out.tfevents.history")  # hold the seconds an epoch took


@dataclass(frozen=True)
class Stage:
    """A command line up to its output, and what makes another output of it."""

    name: str
    output: str
    arguments: tuple[str, ...]  # {base} stands for the folder of the chain, {out} for the output
    other: tuple[str, ...]  # options that make another content
    jobs: bool = False

    def __str__(self) -> str:
        return self.name

    def command(self, base: Path, out: Path, other: bool = False, force: bool = False, jobs: int = 1) -> list[str]:
        """The whole command line."""
        words = [word.format(base=base, out=out) for word in self.arguments]
        more = [word.format(base=base) for word in self.other] if other else []
        return [*words, *more, *(["--force"] if force else []), *(["--jobs", str(jobs)] if self.jobs else [])]


STAGES = (
    Stage(
        *("prep", "data", ("prep", "synthetic", "{base}/audio", "{out}", *(w for s in CORPUS for w in ("--set", s)))),
        ("--set", "n_recordings_per_class=1", "--set", "allow_missing_classes=true"),
        jobs=True,
    ),
    Stage(
        *("vary", "varied", ("augment", "{base}/data", "{out}", "--method", "time_stretch")),
        *(("--seed", "1"), True),
    ),
    Stage("denoise", "denoised", ("denoise", "{base}/data", "{out}"), ("--set", "sample_rate=8000"), jobs=True),
    Stage(
        *("featurize", "logmel", ("featurize", "{base}/data", "{out}", "--denoised", "{base}/denoised", *FEATURES)),
        ("--set", "dtype=float16"),
        jobs=True,
    ),
    Stage(
        *("augment", "mixed", ("augment", "{base}/logmel", "{out}", "--method", "between_class", "--fold", "1")),
        ("--seed", "1"),
    ),
    Stage("train", "run", ("train", "{base}/logmel", "{out}", *NETWORK, "--epochs", "4"), ("--epochs", "2")),
    Stage(
        *("extract", "embeddings", ("extract", "{base}/run", "{base}/logmel", "{out}", "--kind", "embedding")),
        ("--system", "other"),
    ),
    Stage("svm", "svm", ("svm", "{base}/embeddings", "{out}", "--set", "calibration_folds=2"), ("--set", "c=1")),
    Stage("fuse", "clips", ("fuse", "{base}/svm", "{out}"), ("--rule", "mean")),
    Stage("score", "scores", ("score", "{base}/clips", "--out", "{out}"), ("{base}/svm",)),
)


def identity(out: Path) -> str:
    """What an artifact holds, read without a word of who made it when; IntegrityError where it is not whole."""
    found = manifest.read(out)
    verify(out)
    if found["kind"] == "data":
        return manifest.content_hash(found["fingerprint"], *_clips_and_folds(out))
    kept = {
        "fingerprint": found["fingerprint"],
        "content": found.get("content"),
        "shards": sorted(entry["sha256"] for entry in found.get("shards", [])),
        "files": {name: h for name, h in found["files"].items() if name not in KEPT_FROM_EACH_OTHER},
    }
    return manifest.content_hash(repr(kept))


def _clips_and_folds(out: Path) -> list[str]:
    """A data directory but for the folder that copies lie in, which a forced rebuild has of its own."""
    data = DataDirectory(out)
    clips = [repr(replace(clip, path=Path(clip.path).name)) for clip in data.tables.clips]
    return [data.content(), repr(data.tables.folds), repr(data.tables.classes), *clips]


def identity_or_none(out: Path) -> str | None:
    """None for an output that is refused as incomplete or absent: by IntegrityError or DataError, never otherwise."""
    try:
        return identity(out)
    except AsctoolError:
        return None


def check_final_names(out: Path) -> None:
    """No file under a final name is cut short: shards and checkpoints bear their hash, others are in the manifest."""
    for path in out.glob("*-*.*"):
        if path.name.startswith(("shard-", "checkpoint-")):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert digest.startswith(path.stem.rpartition("-")[2]), f"{path} is not whole"


def check_settled(out: Path) -> None:
    """Everything lies under its plain name, and nothing else does: no temporary file, no shard of another time."""
    found = manifest.read(out)
    for name, sha256 in found["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == sha256, f"{out / name}: is of another time"
    named = {*found["files"], *(entry["file"] for entry in found.get("shards", [])), manifest.NAME, ".lock"}
    rest = {path.name for path in out.iterdir() if not path.name.startswith("checkpoint-") and path.is_file()} - named
    assert not rest, f"{out}: also holds {rest}"


def shards(out: Path) -> dict[str, Any]:
    """The shards that are there, by name, with what tells a file that was written again."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("shard-*.h5")}


def make_anew(source: Path | None, out: Path) -> None:
    """An output as it is before a fault: absent, or a copy of a finished one."""
    shutil.rmtree(out, ignore_errors=True)
    if source:
        shutil.copytree(source, out)


@dataclass(frozen=True)
class Chain:
    """All outputs made once, each in two versions, and the server that made them."""

    base: Path
    server: Server

    def finished(self, stage: Stage, other: bool = False) -> Path:
        """A finished output."""
        return self.base / (f"{stage.output}-other" if other else stage.output)

    def start(self, stage: Stage, out: Path, **how: Any) -> int:
        """Start a stage into an output; options of the command line are ``other``, ``force`` and ``jobs``."""
        options = {name: how.pop(name) for name in ("other", "force", "jobs") if name in how}
        return self.server.start(stage.command(self.base, out, **options), patches=EVERY_EPOCH, **how)

    def make(self, stage: Stage, out: Path, **how: Any) -> Outcome:
        """The same to its end."""
        return self.server.wait(self.start(stage, out, **how))

    def start_and_wait_at(self, point: str, stage: Stage, out: Path, **how: Any) -> int:
        """Start a stage and come back when it waits at a named point."""
        pid = self.start(stage, out, fault=f"{point}:wait", **how)
        deadline = time.monotonic() + 60
        while "waiting at" not in (told := self.server.started[pid][1].read_text()):
            assert time.monotonic() < deadline and Path(f"/proc/{pid}").exists(), told
            time.sleep(0.01)
        return pid


@functools.cache
def build() -> Chain:
    """The chain, made once a process."""
    base = Path(tempfile.mkdtemp(prefix="asctool-chain-"))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    chain = Chain(base, Server(base))
    atexit.register(chain.server.__exit__)
    for stage in STAGES:
        for other in (False, True):
            outcome = chain.make(stage, chain.finished(stage, other), other=other)
            assert outcome.code == 0, outcome
    return chain


def stop_at(chain: Chain, stage: Stage, point: str, replacing: bool, folder: Path) -> bool:
    """Kill a stage at a named point, look at what is left, run it again; False when it never gets to that point."""
    out = folder / stage.output
    make_anew(chain.finished(stage, other=True) if replacing else None, out)
    outcome = chain.make(stage, out, force=replacing, fault=point)
    if outcome.code == 0:
        return False
    assert outcome.code == -9, outcome
    before, replaced = shards(out), _is_new(chain, stage, out)
    err = check_what_is_left(chain, stage, out, replacing)
    if not (replacing and replaced):
        _check_nothing_was_done_twice(stage, point, before, out, err)
    return True


def check_what_is_left(chain: Chain, stage: Stage, out: Path, replacing: bool) -> str:
    """Left is the old output whole (nothing, where there was none) or the new one whole; the rerun makes the new one.

    What the rerun said is returned.
    """
    check_final_names(out)
    left = identity_or_none(out) if out.exists() else None
    old, new = identity_or_none(chain.finished(stage, other=True)), identity(chain.finished(stage))
    assert left in ((old, new) if replacing else (None, new)), f"{out}: what is left is neither old nor new"
    again = chain.make(stage, out, force=replacing)
    assert again.code == 0, again
    assert identity(out) == new, f"{out}: is not what an uninterrupted run makes"
    check_settled(out)
    return again.err


def _is_new(chain: Chain, stage: Stage, out: Path) -> bool:
    return out.exists() and identity_or_none(out) == identity(chain.finished(stage))


def _check_nothing_was_done_twice(stage: Stage, point: str, before: dict[str, Any], out: Path, err: str) -> None:
    place, number = point.split(":")
    after = shards(out)
    n_kept = sum(before.get(name) == state for name, state in after.items())
    if stage.name in ("denoise", "featurize"):
        n_written = int(number) - (not place.startswith("after")) if place.endswith("-shard") else len(after)
        assert n_kept == n_written, f"{point}: {n_kept} shards of {len(after)} were kept, {n_written} were there"
    if stage.name == "train" and place.endswith(("-manifest", "-settle")):
        assert "going on after epoch 4" in err or "is there already" in err, err
    if stage.name == "train" and place == "after-checkpoint":
        assert f"going on after epoch {min(int(number), 4)}" in err, err  # the last one is saved twice
