"""Array jobs: parts of a store made side by side by processes of their own, killed, run again, in each other's way."""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from soak.chain import check_settled
from soak.server import SHARD_BYTES, Outcome, Server

from asctool.cli import run
from asctool.errors import UsageError
from asctool.stages.verify import verify
from asctool.storage import locks, manifest, parts, shards
from asctool.storage.data_directory import DataDirectory
from asctool.storage.dataset import encode_folds
from asctool.storage.parts import Part
from asctool.storage.store import Store

FEATURES = ("--type", "logmel", "--set", "sample_rate=16000", "--set", "segment_frames=40", "--quiet")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Commands as processes of their own, whose stores have shards of 150 kB."""
    with Server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def whole(corpus: Path, server: Server) -> Path:
    """What ``--jobs 1`` makes."""
    made = server.run(["denoise", corpus / "data", corpus / "whole", "--jobs", 1])
    assert made.code == 0, made
    return corpus / "whole"


def denoise(corpus: Path, out: Path, part: str) -> list[object]:
    return ["denoise", corpus / "data", out, "--jobs", 1, "--part", part]


def n_shards(store: Path) -> int:
    return len(manifest.read(store)["shards"])


def entries(store: Path) -> list[object]:
    """The shards by name and hash, and the tables: all of a store but who made it when."""
    found = manifest.read(store)
    return [found["fingerprint"], found["content"], found["shards"], found["files"]]


def waiting(server: Server, pid: int) -> None:
    """Come back when a process waits at the point that it was told to wait at."""
    deadline = time.monotonic() + 60
    while "waiting at" not in (told := server.started[pid][1].read_text()):
        assert time.monotonic() < deadline, told
        time.sleep(0.01)


def refused(outcome: Outcome, code: int, words: str) -> None:
    assert outcome.code == code and re.search(words, outcome.err), outcome
    assert len(outcome.err.splitlines()) == 1, outcome


@given(st.integers(0, 200), st.integers(1, 30))
def test_parts_share_out_every_piece_once(n_pieces: int, total: int) -> None:
    shares = [parts.share(n_pieces, Part(number, total)) for number in range(1, total + 1)]
    assert sorted(piece for share in shares for piece in share) == list(parts.share(n_pieces, None))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "-1/4", "1/0", "1/4/2", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"such as 3/16"):
        Part.parse(text)
    assert str(Part.parse("3/16")) == "3/16"


def test_parts_at_once_one_killed_and_run_again(corpus: Path, whole: Path, server: Server, tmp_path: Path) -> None:
    """The store is finished once, by whichever part is last, and equals that of one process."""
    out = tmp_path / "out"
    pids = [server.start(denoise(corpus, out, f"{k}/4"), fault="after-shard:2" if k == 2 else "") for k in range(1, 5)]
    outcomes = [server.wait(pid) for pid in pids]
    assert [outcome.code for outcome in outcomes] == [0, -9, 0, 0], outcomes
    assert not (out / manifest.NAME).exists()
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    assert all("are yet to come from others" in outcome.err for outcome in (outcomes[0], *outcomes[2:]))
    again = server.run(denoise(corpus, out, "2/4"))
    assert again.code == 0 and again.err.endswith(f"{out}: written\n"), again
    assert entries(out) == entries(whole)
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there  # nothing was done twice
    assert len(there) < n_shards(out)
    verify(out)
    check_settled(out)


def test_more_parts_than_shards_all_at_once(corpus: Path, whole: Path, server: Server, tmp_path: Path) -> None:
    out, total = tmp_path / "out", 6
    larger = {"asctool.storage.shards.plan_shards.__defaults__": [1_000_000]}
    pids = [server.start(denoise(corpus, out, f"{k}/{total}"), patches=larger) for k in range(1, total + 1)]
    outcomes = [server.wait(pid) for pid in pids]
    assert {outcome.code for outcome in outcomes} == {0}, outcomes
    assert sum(f"{out}: written" in outcome.err for outcome in outcomes) == 1
    n = n_shards(out)
    assert n < total and Store(out).content == Store(whole).content  # in however many shards
    check_settled(out)
    late = server.run(denoise(corpus, tmp_path / "late", f"{total}/{total}"), patches=larger)
    assert late.code == 0, late
    assert f"nothing for part {total}/{total} to do, there are {n} pieces" in late.err


def test_two_parts_that_end_together_finish_once(corpus: Path, whole: Path, server: Server, tmp_path: Path) -> None:
    """The turn to finish is held until both have nothing else left to do."""
    out = tmp_path / "out"
    pids = [server.start(denoise(corpus, out, f"{k}/2")) for k in (1, 2)]
    until(lambda: len(list(out.glob("shard-*"))) >= 1)
    with locks.turn(out):
        until(lambda: len(list(out.glob("shard-*"))) == n_shards(whole))
        time.sleep(0.2)
        assert not (out / manifest.NAME).exists()
    outcomes = [server.wait(pid) for pid in pids]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert sum(f"{out}: written" in outcome.err for outcome in outcomes) == 1
    assert entries(out) == entries(whole)
    check_settled(out)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_before_the_manifest_any_part_finishes(
    corpus: Path, whole: Path, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert server.run(denoise(corpus, out, "1/2")).code == 0
    assert server.run(denoise(corpus, out, "2/2"), fault="half-manifest:1").code == -9
    outcome = server.run(denoise(corpus, out, "1/2"))
    assert outcome.code == 0 and f"{out}: written" in outcome.err, outcome
    assert entries(out) == entries(whole)
    check_settled(out)


def test_what_parts_left_the_whole_command_finishes(corpus: Path, whole: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert server.run(denoise(corpus, out, "2/3")).code == 0
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("shard-*.h5")}
    assert there
    assert server.run(["denoise", corpus / "data", out, "--jobs", 1]).code == 0
    assert entries(out) == entries(whole)
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    check_settled(out)


def test_a_damaged_shard_of_another_part_is_found(corpus: Path, whole: Path, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert server.run(denoise(corpus, out, "1/2")).code == 0
    shard = min(out.glob("shard-00000-*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    refused_last = server.run([*denoise(corpus, out, "2/2"), "--quiet"])
    assert refused_last.code == 5 and "shard 1 is gone since it was written; run it again" in refused_last.err
    assert server.run(denoise(corpus, out, "1/2")).code == 0
    assert entries(out) == entries(whole)


def test_parts_and_a_writer_of_the_whole_keep_each_other_out(corpus: Path, server: Server, tmp_path: Path) -> None:
    out, every = tmp_path / "out", ["denoise", corpus / "data", tmp_path / "out", "--jobs", 1]
    pid = server.start(denoise(corpus, out, "1/2"), fault="half-shard:1:wait")
    waiting(server, pid)
    refused(server.run(every), 4, rf"{out}: part 1/2, process {pid} on \S+ is writing it")
    refused(server.run([*every, "--dry-run"]), 4, r"part 1/2, process")
    refused(server.run(denoise(corpus, out, "1/2")), 4, rf"{out}: part 1/2, process {pid} on \S+ is writing it")
    assert server.run(denoise(corpus, out, "2/2")).code == 0
    os.kill(pid, signal.SIGTERM)
    assert server.wait(pid).code == 143
    pid = server.start(every, fault="half-shard:1:wait")
    waiting(server, pid)
    refused(server.run(denoise(corpus, out, "2/2")), 4, rf"{out}: process {pid} on \S+ is writing it")
    os.kill(pid, signal.SIGKILL)
    server.wait(pid)


def test_parts_of_other_options_are_refused(corpus: Path, server: Server, tmp_path: Path) -> None:
    """While the parts are being made, and when they are done; what is there stays as it is."""
    out, other = tmp_path / "out", ("--set", "sample_rate=8000")
    assert server.run(denoise(corpus, out, "1/2")).code == 0
    before = sorted(path.name for path in out.iterdir())
    refused(
        server.run([*denoise(corpus, out, "2/2"), *other]), 2, r"begun with other options \(sample_rate: None -> 8000"
    )
    refused(server.run([*denoise(corpus, out, "2/2"), *other, "--dry-run"]), 2, "begun with other options")
    refused(server.run([*denoise(corpus, out, "2/2"), "--force"]), 2, "--force --part 2/2: .* remove")
    assert sorted(path.name for path in out.iterdir()) == before
    assert server.run(denoise(corpus, out, "2/2")).code == 0
    refused(server.run([*denoise(corpus, out, "2/2"), *other]), 2, "made with other options .*sample_rate")


def test_parts_of_features_bring_tables_up_to_date_once(corpus: Path, server: Server, tmp_path: Path) -> None:
    """Labels that changed: all parts at once find the rows there, one of them writes the tables."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(corpus / "data", data)

    def run_parts() -> list[Outcome]:
        commands = [
            ["featurize", data, out, *FEATURES[:-1], "--denoised", corpus / "denoised", "--jobs", 1, "--part", f"{k}/3"]
            for k in (1, 2, 3)
        ]
        return [server.wait(pid) for pid in [server.start(command) for command in commands]]

    assert [outcome.code for outcome in run_parts()] == [0, 0, 0]
    alone = tmp_path / "alone"
    done = server.run(["featurize", data, alone, *FEATURES, "--denoised", corpus / "denoised", "--jobs", 1])
    assert done.code == 0 and entries(out) == entries(alone), done
    found = DataDirectory(data)
    folds = found.tables.folds[::-1]
    content = manifest.read(data)
    manifest.commit(
        data,
        content,
        {name: (data / name).read_bytes() for name in content["files"]} | {"folds.csv": encode_folds(folds)},
    )
    outcomes = run_parts()
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    assert Store(out, "feature").tables.folds == folds
    assert Store(out).content == Store(alone).content
    check_settled(out)


def test_copies_of_clips_in_parts(corpus: Path, server: Server, tmp_path: Path) -> None:
    """augment makes no shards but sound files; a part that was killed goes on, the last one finishes."""

    def command(out: Path, *more: object) -> list[object]:
        return ["augment", corpus / "data", out, "--method", "time_stretch", "--jobs", 1, *more]

    alone, out = tmp_path / "alone", tmp_path / "out"
    assert server.run(command(alone)).code == 0
    pids = [server.start(command(out, "--part", f"{k}/2"), fault="after-wav:3" if k == 1 else "") for k in (1, 2)]
    assert [server.wait(pid).code for pid in pids] == [-9, 0]
    outcome = server.run(command(out, "--part", "1/2"))
    assert outcome.code == 0 and outcome.err.endswith(f"{out}: written\n"), outcome
    assert DataDirectory(out).content() == DataDirectory(alone).content()
    assert DataDirectory(out).tables == DataDirectory(alone).tables
    verify(out)


def test_rows_of_features_have_no_parts(corpus: Path, server: Server, tmp_path: Path) -> None:
    command = ["augment", corpus / "logmel", tmp_path / "out", "--method", "mixup", "--fold", 1]
    refused(server.run([*command, "--part", "1/2"]), 2, "--part 1/2: is for varied copies of clips")
    refused(server.run([*command, "--scheduler", "tcp://h:1"]), 2, "--scheduler tcp://h:1: is for varied copies")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("kind", "shard_bytes"), [("embedding", 1500), ("tag", 150)])
def test_extract_in_parts(
    kind: str, shard_bytes: int, corpus: Path, trained: Path, server: Server, tmp_path: Path
) -> None:
    def command(out: Path, *more: object) -> list[object]:
        return ["extract", trained, corpus / "logmel", out, "--kind", kind, *more]

    patches = {"asctool.storage.shards.plan_shards.__defaults__": [shard_bytes]}
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert server.run(command(alone), patches=patches).code == 0
    assert n_shards(alone) >= 3
    one = server.run(command(tmp_path / "one"))
    assert one.code == 0 and n_shards(tmp_path / "one") == 1
    assert Store(alone).content == Store(tmp_path / "one").content  # however many shards
    pids = [
        server.start(command(out, "--part", f"{k}/2"), patches=patches, fault="after-shard:1" if k == 2 else "")
        for k in (1, 2)
    ]
    assert [server.wait(pid).code for pid in pids] == [0, -9]
    outcome = server.run(command(out, "--part", "2/2"), patches=patches)
    assert outcome.code == 0 and outcome.err.endswith(f"{out}: written\n"), outcome
    assert entries(out) == entries(alone)
    check_settled(out)


def test_a_dry_run_tells_of_its_part(
    corpus: Path, whole: Path, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, n = tmp_path / "out", n_shards(whole)
    assert server.run(denoise(corpus, out, "1/2")).code == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    told = [foretold(corpus, out, part, capsys) for part in ("1/2", "2/2", f"{n + 1}/{n + 1}")]
    done, left = n - n // 2, n // 2
    assert (
        f"part 1/2 of denoise would write {done} of the {n} shards of a waveform store, {done} of which are" in told[0]
    )
    assert "about 0 bytes of disk" in told[0]
    assert f"part 2/2 of denoise would write {left} of the {n} shards of a waveform store; about" in told[1]
    assert f"part {n + 1}/{n + 1} has nothing to do, there are {n} shards" in told[2]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert "is there already" in foretold(corpus, whole, "2/2", capsys)


def foretold(corpus: Path, out: Path, part: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a dry run prints, with shards of the size that the server has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards.plan_shards, "__defaults__", (SHARD_BYTES,))
        assert run([*map(str, denoise(corpus, out, part)), "--dry-run", "--quiet"]) == 0
    return capsys.readouterr().out
