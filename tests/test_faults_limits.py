"""Signals, second writers, readers meanwhile, full disks, limits: an exit code, one line, the old output whole."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from soak.chain import (
    STAGES,
    Chain,
    Stage,
    build,
    check_final_names,
    check_settled,
    identity,
    identity_or_none,
    make_anew,
)
from soak.server import Outcome, gone, group

from asctool.console import ending
from asctool.storage import atomic, locks
from asctool.storage.store import Store

STOP_SECONDS = 10.0
BY_NAME = {stage.name: stage for stage in STAGES}
WAITS = {"denoise": "half-shard:2", "featurize": "half-shard:2", "train": "half-checkpoint:3"}  # half-file:1 elsewhere
EACH = pytest.mark.parametrize("stage", STAGES, ids=list(BY_NAME))


@pytest.fixture(scope="session")
def chain() -> Chain:
    return build()


def told_in_one_line(outcome: Outcome, code: int, *words: str) -> None:
    assert outcome.code == code, outcome
    assert "Traceback" not in outcome.err, outcome
    assert len([line for line in outcome.err.splitlines() if line.startswith("asctool ")]) == 1, outcome
    assert all(word in outcome.err for word in words), outcome


def no_temporary_file(out: Path) -> None:
    assert not list(out.glob(f"{atomic.TEMPORARY}*"))


@EACH
@pytest.mark.parametrize(("number", "replacing"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_ends_a_stage(stage: Stage, number: int, replacing: bool, chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / stage.output
    make_anew(chain.finished(stage, other=True) if replacing else None, out)
    pid = chain.start_and_wait_at(WAITS.get(stage.name, "half-file:1"), stage, out, force=replacing)
    sent = time.monotonic()
    os.kill(pid, number)
    outcome = chain.server.wait(pid)
    assert time.monotonic() - sent < STOP_SECONDS
    told_in_one_line(outcome, 128 + number, "stopped; run it again to go on")
    assert group(pid) == []
    no_temporary_file(out)
    assert identity_or_none(out) == (identity_or_none(chain.finished(stage, other=True)) if replacing else None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_leaves_no_worker_behind(number: int, chain: Chain, tmp_path: Path) -> None:
    """SIGINT goes to all processes, as a terminal's Ctrl-C does; the others to the main process alone."""
    stage, out = BY_NAME["featurize"], tmp_path / "logmel"
    pid = chain.start_and_wait_at("half-shard:1", stage, out, jobs=2)
    assert len(group(pid)) >= 3
    sent = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(pid, number)
    outcome = chain.server.wait(pid)
    if number == signal.SIGKILL:
        assert outcome.code == -9
    else:
        told_in_one_line(outcome, 128 + number)
    assert gone(pid, STOP_SECONDS - (time.monotonic() - sent))
    check_final_names(out)
    assert chain.make(stage, out).code == 0
    assert identity(out) == identity(chain.finished(stage))
    check_settled(out)


def test_a_killed_worker_is_an_error_of_the_environment(chain: Chain, tmp_path: Path) -> None:
    stage, out = BY_NAME["featurize"], tmp_path / "logmel"
    pid = chain.start(stage, out, jobs=2, fault="after-shard:1")
    outcome = chain.server.wait(pid)
    told_in_one_line(outcome, 4, "a worker process was killed, perhaps for want of memory")
    assert gone(pid, 2)
    assert chain.make(stage, out).code == 0
    assert identity(out) == identity(chain.finished(stage))


def test_what_does_not_unwind_is_ended() -> None:
    code = """
import subprocess, sys, time
from asctool.console import ending
ending.STOP_SECONDS = 0.5
def never():
    child = subprocess.Popen(["sleep", "60"], process_group=0, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        try:
            print(child.pid, flush=True)
            time.sleep(60)
        except BaseException:
            pass
sys.exit(ending.guarded(never, "test", False))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=STOP_SECONDS)
    assert process.returncode == 143 and err == "asctool test: stopped; run it again to go on\n"
    assert gone(child, 2)


@pytest.mark.parametrize(
    "words", ["error return without exception set", "<method> returned NULL without setting an exception"]
)
def test_a_library_that_fails_without_a_word_is_told(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise SystemError(words)

    assert ending.guarded(fail, "test", False) == 4
    assert capsys.readouterr().err.startswith("asctool test: a library failed and did not say of what")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_program_is_still_being_imported(number: int) -> None:
    """Sent by the very import of what the command line is made of."""
    code = f"""
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), {int(number)})
sys.meta_path.insert(0, Finder())
from asctool.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code, "info", "x"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (128 + number, "asctool: stopped\n", "")


@EACH
def test_other_options_are_refused_and_forced(stage: Stage, chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / stage.output
    make_anew(chain.finished(stage, other=True), out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    told_in_one_line(chain.make(stage, out), 2, "was made with other options", " -> ", "--force")
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert chain.make(stage, out, force=True).code == 0
    assert identity(out) == identity(chain.finished(stage))
    check_settled(out)


OUTPUT_IS_INPUT = {
    "prep": "audio",
    "denoise": "data",
    "featurize": "denoised",
    "vary": "data",
    "augment": "logmel",
    "train": "logmel",
    "extract": "run",
    "svm": "embeddings",
    "fuse": "svm",
    "score": "clips",
}


@EACH
def test_an_output_that_is_an_input_is_refused(stage: Stage, chain: Chain) -> None:
    out = chain.base / OUTPUT_IS_INPUT[stage.name]
    before = {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*"))}
    told_in_one_line(chain.make(stage, out, force=True), 2)
    assert {path: path.stat().st_mtime_ns for path in sorted(out.rglob("*"))} == before


@pytest.mark.parametrize("stage", [BY_NAME[name] for name in ("denoise", "train", "score")], ids=str)
def test_a_missing_parent_or_a_file_in_the_way_is_told(stage: Stage, chain: Chain, tmp_path: Path) -> None:
    told_in_one_line(chain.make(stage, tmp_path / "none" / "out"), 4, "its parent", "mkdir -p")
    (tmp_path / "file").write_bytes(b"mine")
    told_in_one_line(chain.make(stage, tmp_path / "file"), 4, "is a file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.skipif(os.getuid() != 0, reason="root becomes nobody here; others are nobody's fools already")
def test_a_directory_that_may_not_be_written(chain: Chain, tmp_path: Path) -> None:
    stage = BY_NAME["fuse"]
    for path in (chain.base, *tmp_path.parents[:2], tmp_path):
        path.chmod(0o755)
    told_in_one_line(chain.make(stage, tmp_path / "out", user=65534), 4, "Permission denied")
    make_anew(chain.finished(stage, other=True), tmp_path / "old")
    told_in_one_line(chain.make(stage, tmp_path / "old", user=65534, force=True), 4, "Permission denied")
    assert identity(tmp_path / "old") == identity(chain.finished(stage, other=True))


@pytest.mark.parametrize("locking", ["TRUE", "FALSE"])
def test_of_two_writers_one_wins(locking: str, chain: Chain, tmp_path: Path) -> None:
    stage, out, env = BY_NAME["featurize"], tmp_path / "logmel", {"HDF5_USE_FILE_LOCKING": locking}
    pid = chain.start_and_wait_at("after-shard:1", stage, out, env=env)
    told_in_one_line(chain.make(stage, out, env=env), 4, f"process {pid} on ", "is writing it")
    told_in_one_line(chain.make(stage, out, force=True, env=env), 4, f"process {pid} on ")
    os.kill(pid, signal.SIGKILL)
    chain.server.wait(pid)
    racing = [chain.start(stage, out, env=env) for _ in range(2)]
    codes = {chain.server.wait(pid).code for pid in racing}
    assert codes <= {0, 4} and 0 in codes
    assert identity(out) == identity(chain.finished(stage))
    check_settled(out)


def test_readers_see_the_old_or_the_new_while_a_store_is_made_anew(chain: Chain, tmp_path: Path) -> None:
    stage, out = BY_NAME["svm"], tmp_path / "svm"
    make_anew(chain.finished(stage), out)
    versions = [_read(chain.finished(stage, other)) for other in (False, True)]
    n_reads = [0, 0]
    for turn in range(40):
        if turn >= 4 and turn % 2 == 0 and sum(n_reads) > 20:  # on a busy machine a writer may outrun its readers
            break
        pid = chain.start(stage, out, other=turn % 2 == 0, force=True)
        while group(pid):
            n_reads[versions.index(_read(out))] += 1
        assert chain.server.wait(pid).code == 0
        n_reads[versions.index(_read(out))] += 1
    assert min(n_reads) >= 2 and sum(n_reads) > 20
    assert chain.make(stage, out).code == 0  # tidies what readers had kept
    check_settled(out)


def _read(directory: Path) -> tuple[bytes, ...]:
    """Everything a reader takes from a store, one after the other."""
    store = Store(directory, "posterior")
    parts = [store.read_file(name) for name in sorted(store.manifest["files"])]
    return store.content.encode(), store.columns("array")["array"].tobytes(), *parts


FULL = {  # a point for each stage, several where most is written
    "denoise": ("written-shard:4",),
    "featurize": ("before-shard:2", "half-shard:3", "written-file:3"),
    "train": ("half-checkpoint:3", "half-file:2"),
    "svm": ("half-manifest:1",),
}


@pytest.mark.parametrize(
    ("stage", "replacing"), [(BY_NAME["featurize"], False), *((stage, True) for stage in STAGES)], ids=str
)
def test_a_disk_that_fills_up(stage: Stage, replacing: bool, chain: Chain, tmp_path: Path) -> None:
    out = tmp_path / stage.output
    old = identity_or_none(chain.finished(stage, other=True)) if replacing else None
    for point in FULL.get(stage.name, ("half-file:2",)):
        make_anew(chain.finished(stage, other=True) if replacing else None, out)
        told_in_one_line(
            chain.make(stage, out, force=replacing, fault=f"{point}:full"), 4, "no room", "needed", "free; free some"
        )
        no_temporary_file(out)
        assert identity_or_none(out) == old
    assert chain.make(stage, out, force=replacing).code == 0
    assert identity(out) == identity(chain.finished(stage))
    check_settled(out)


@pytest.mark.parametrize(("name", "limit"), [("denoise", 100_000), ("featurize", 4096), ("featurize", 30_000)])
def test_files_above_a_limit_on_their_size(name: str, limit: int, chain: Chain, tmp_path: Path) -> None:
    """What the operating system itself refuses to write: RLIMIT_FSIZE."""
    stage, out = BY_NAME[name], tmp_path / name
    make_anew(chain.finished(stage, other=True), out)
    outcome = chain.make(stage, out, force=True, limits={"RLIMIT_FSIZE": limit})
    told_in_one_line(outcome, 4, "needed", "free within this process' limit (ulimit -f)")
    no_temporary_file(out)
    assert identity(out) == identity(chain.finished(stage, other=True))


@EACH
def test_64_open_files_are_enough(stage: Stage, chain: Chain, tmp_path: Path) -> None:
    outcome = chain.make(stage, tmp_path / stage.output, limits={"RLIMIT_NOFILE": 64})
    assert outcome.code == 0, outcome
    assert identity(tmp_path / stage.output) == identity(chain.finished(stage))


def test_too_few_open_files_are_told(chain: Chain, tmp_path: Path) -> None:
    told_in_one_line(chain.make(BY_NAME["fuse"], tmp_path / "out", limits={"RLIMIT_NOFILE": 5}), 4, "(ulimit -n)")


@EACH
def test_memory_that_cannot_be_had(stage: Stage, chain: Chain, tmp_path: Path) -> None:
    """Wherever it is refused: told in a line, the old output whole; with memory again, the same content as ever."""
    out = tmp_path / stage.output
    for point in FULL.get(stage.name, ("half-file:2",)):
        make_anew(chain.finished(stage, other=True), out)
        told_in_one_line(chain.make(stage, out, force=True, fault=f"{point}:memory"), 4, "not enough memory")
        no_temporary_file(out)
        assert identity(out) == identity(chain.finished(stage, other=True))
    assert chain.make(stage, out, force=True).code == 0
    assert identity(out) == identity(chain.finished(stage))


@pytest.mark.parametrize("name", ["denoise", "featurize", "train", "extract", "svm"])
def test_a_limit_on_memory(name: str, chain: Chain, tmp_path: Path) -> None:
    """What the operating system itself refuses: RLIMIT_AS. Here torch is known to crash by itself; nothing is lost.

    So is LLVM, while it compiles a kernel: those of the stage are made before.
    """
    stage, out = BY_NAME[name], tmp_path / name
    assert chain.make(stage, tmp_path / "unlimited").code == 0
    make_anew(chain.finished(stage, other=True), out)
    outcome = chain.make(stage, out, force=True, limits={"RLIMIT_AS": 100_000_000})
    crashes = (-signal.SIGSEGV, -signal.SIGABRT) if name in ("train", "extract", "svm") else ()
    assert outcome.code in (0, 4, *crashes), outcome
    assert "Traceback" not in outcome.err
    assert identity(out) == identity(chain.finished(stage, other=outcome.code != 0))
    assert chain.make(stage, out, force=True).code == 0
    assert identity(out) == identity(chain.finished(stage))


def test_a_damaged_checkpoint_costs_an_epoch(chain: Chain, tmp_path: Path) -> None:
    stage, out = BY_NAME["train"], tmp_path / "run"
    assert chain.make(stage, out, fault="after-checkpoint:3").code == -9
    newest = max(out.glob("checkpoint-*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 4
    newest.write_bytes(data)
    outcome = chain.make(stage, out)
    assert outcome.code == 0, outcome
    assert f"{newest}: is damaged" in outcome.err and "going on after epoch 2" in outcome.err
    assert identity(out) == identity(chain.finished(stage))


@pytest.mark.parametrize(
    ("stage", "changed"), [("featurize", "denoised"), ("train", "logmel"), ("extract", "run"), ("svm", "embeddings")]
)
def test_a_stage_refuses_a_damaged_input(stage: str, changed: str, chain: Chain, tmp_path: Path) -> None:
    folder = chain.base / changed
    path = max(p for p in folder.iterdir() if p.name.startswith("shard-") or p.name == "model.pt")
    whole = path.read_bytes()
    try:
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        path.write_bytes(flipped)
        outcome = chain.make(BY_NAME[stage], tmp_path / "out")
    finally:
        path.write_bytes(whole)
    told_in_one_line(outcome, 5, f"{path}: is not what was written (its hash differs)")
    assert outcome.seconds < 2 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert not (tmp_path / "out").exists() or identity_or_none(tmp_path / "out") is None


UNVERIFIED = {"train": "logmel", "extract": "logmel", "svm": "embeddings", "fuse": "svm", "score": "clips"}


@pytest.mark.parametrize("stage", UNVERIFIED)
def test_without_verifying_a_changed_value_is_read(stage: str, chain: Chain, tmp_path: Path) -> None:
    """What --no-verify is said to give up: one bit of one value is nobody's business then."""
    folder = tmp_path / UNVERIFIED[stage]
    make_anew(chain.base / folder.name, folder)
    path = min(folder.glob("shard-*"))
    data = bytearray(path.read_bytes())
    data[data.index(Store(folder).columns("array")["array"][0].tobytes())] ^= 1  # the smallest part of its first value
    path.write_bytes(data)
    command = BY_NAME[stage].command(chain.base, tmp_path / "out")
    words = [str(folder) if word == str(chain.base / folder.name) else word for word in command]
    told_in_one_line(chain.server.run(words), 5, f"{path}: is not what was written (its hash differs)")
    outcome = chain.server.run([*words, "--no-verify"])
    assert outcome.code == 0, outcome
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_holders_are_known_by_their_locks_alone(tmp_path: Path) -> None:
    (tmp_path / locks.LOCK).write_text("process 1 on elsewhere")  # of a writer that was killed
    with locks.writer_lock(tmp_path):
        assert (tmp_path / locks.LOCK).read_text() == f"process {os.getpid()} on {os.uname().nodename}"


def test_temporary_files_of_other_hosts_go_after_a_day(tmp_path: Path) -> None:
    old, new = (tmp_path / f"{atomic.TEMPORARY}else-where-{pid}-00ff" for pid in (1, 2))
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (time.time() - 2 * atomic.FOREIGN_SECONDS,) * 2)
    atomic.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_writing_is_as_fast_as_it_should_be(tmp_path: Path) -> None:
    """At most 1.5 times a plain write that is synced too."""
    data = np.random.default_rng(0).bytes(16 << 20)

    def plain() -> None:
        with (tmp_path / "plain").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    times: dict[str, list[float]] = {"plain": [], "atomic": []}
    for _ in range(7):
        for name, write in (("plain", plain), ("atomic", lambda: atomic.write_bytes(tmp_path / "whole", data))):
            began = time.perf_counter()
            write()
            times[name].append(time.perf_counter() - began)
    assert min(times["atomic"]) < 1.5 * min(times["plain"]) + 0.01
