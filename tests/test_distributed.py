"""Training by several processes: the same step as by one, one writer, one message, exactly resumed.

Processes are forked from a server that has imported torch once, with what torchrun puts into their environment; two
tests go through torchrun itself.
"""

import contextlib
import csv
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, asctool
from hypothesis import given
from hypothesis import strategies as st
from small import shape_of, small
from torch import distributed as group

from asctool import models, registry
from asctool.cli import run
from asctool.errors import IntegrityError, UsageError
from asctool.models._layers import InputShape
from asctool.storage import locks, manifest
from asctool.training import checkpoint, distributed, epochs, judging, resuming
from asctool.training.distributed import Processes
from asctool.training.examples import Examples, normalization_of
from asctool.training.settings import Settings
from asctool.training.trainer import Trainer

CPU = torch.device("cpu")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["asctool.training.session", "asctool.cli"])
MESSAGES = [bytes(range(256)) * 40, b"", None]
SECONDS = 300.0  # for processes on a busy machine


@given(st.integers(0, 60), st.integers(2, 16), st.integers(1, 5))
def test_parts_of_processes_make_up_every_batch(n_rows: int, batch_size: int, size: int) -> None:
    ranges = epochs.batch_ranges(n_rows, batch_size)
    shares = [epochs.share(ranges, rank, size) for rank in range(size)]
    for index, (first, end) in enumerate(ranges):
        parts = [(s.places[slice(*s.ranges[index])], s.weights[slice(*s.ranges[index])]) for s in shares]
        counted = np.concatenate([places[weights > 0] for places, weights in parts])
        assert counted.tolist() == list(range(first, end))  # every row once, in their order
        assert all(len(places) >= 2 and first <= places.min() and places.max() < end for places, _ in parts)
        sizes = [int((weights > 0).sum()) for _, weights in parts]
        assert max(sizes) - min(sizes) <= 1
        np.testing.assert_allclose(sum(weights.sum() for _, weights in parts) / size, 1, rtol=1e-6)
    assert all(s.ranges[-1][1] == len(s.places) for s in shares if ranges)


# Trainers in processes of their own


def examples(n_rows: int = 37, n_classes: int = 4) -> Examples:
    """Rows whose class is the group of bands that is loud; a last batch of 7 among batches of 10."""
    rng = np.random.default_rng(0)
    classes = np.arange(n_rows) % n_classes
    features = rng.normal(size=(n_rows, 1, 64, 8)).astype(np.float32)
    for row, index in enumerate(classes):
        features[row, 0, 16 * index : 16 * index + 16] += 3
    return Examples(features, np.eye(n_classes, dtype=np.float32)[classes], np.arange(n_rows) // 2)


def trainer(processes: Processes, dropout: float = 0.0, **changes: Any) -> Trainer:
    data = examples()
    torch.manual_seed(0)
    config = {
        "filters": [4, 8, 8],
        "hidden": 8,
        "attention_size": 4,
        "mask_scale": 0.0,
        "conv_dropout": dropout,
        "rnn_dropout": dropout,
    }
    network = models.build("att_crnn", config, InputShape(1, 64, 8), 4)
    given = {"epochs": 4, "batch_size": 10, "learning_rate": 0.01, "precision": "float32", "mix": "between_class"}
    return Trainer(network, data, normalization_of(data.features), Settings(**{**given, **changes}), CPU, processes)


def learned(
    processes: Processes, dropout: float, changes: dict[str, Any]
) -> tuple[list[tuple[float, float]], np.ndarray]:
    """Loss and accuracy of three epochs, the figures of a held-out part after them; weights and statistics."""
    made = trainer(processes, dropout, **changes)
    curve = [(result.loss, result.accuracy) for result in (made.run_epoch() for _ in range(3))]
    part = examples(11)
    found = judging.judge(made, part, normalization_of(part.features), False)
    state = [value.numpy().ravel() for value in made.network.state_dict().values()]
    return [*curve, (found["segment_accuracy"], found["clip_accuracy"])], np.concatenate(state)


def resumed(processes: Processes) -> tuple[str, str]:
    """Weights after four epochs, and after two, a checkpoint, and two more by a new trainer."""
    whole, first, second = (trainer(processes, dropout=0.3) for _ in range(3))
    for _ in range(4):
        whole.run_epoch()
    for _ in range(2):
        first.run_epoch()
    saved = processes.told(lambda: checkpoint.encode(first.state()))
    assert saved
    torch.manual_seed(processes.rank)
    second.restore(checkpoint.decode(saved, CPU))
    for _ in range(2):
        second.run_epoch()
    return checkpoint.weights_hash(whole.network), checkpoint.weights_hash(second.network)


def messages(processes: Processes) -> list[bytes | None]:
    """What the first process tells: much, nothing, no answer."""
    return [processes.told(partial(dict(enumerate(MESSAGES)).get, number)) for number in range(len(MESSAGES))]


def work(queue: Any, rank: int, size: int, port: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    for name, value in environment(rank, size, port).items():
        os.environ[name] = value
    with distributed.joined("cpu") as processes:
        queue.put((rank, function(processes, *arguments)))


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process that it starts."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    told = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    return {**told, **{name: str(value) for name, value in numbers.items()}}


@contextlib.contextmanager
def server() -> Iterator[int]:
    """The store that torchrun keeps for its processes; its port."""
    store = group.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield store.port
    del store


def together(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What a function of the processes returns in each of them."""
    queue = CONTEXT.Queue()
    with server() as port:
        started = [CONTEXT.Process(target=work, args=(queue, r, size, port, function, arguments)) for r in range(size)]
        for process in started:
            process.start()
        results = dict(queue.get(timeout=SECONDS) for _ in started)
        for process in started:
            process.join(SECONDS)
    return [results[rank] for rank in range(size)]


FROZEN = {"freeze_batchnorm": True}


@pytest.mark.parametrize("size", [2, 3])
def test_curves_of_several_processes_are_those_of_one(size: int) -> None:
    """Batches of 10 and 7 rows are cut unevenly: a mean of their parts' means would differ by some percent."""
    alone, own = learned(Processes(), 0.0, FROZEN)
    found = together(size, learned, 0.0, FROZEN)
    for curve, weights in found:
        np.testing.assert_allclose(curve, alone, rtol=1e-5)  # float32, sums in another order
        np.testing.assert_array_equal(weights, found[0][1])  # to the bit: each went through the same steps
        np.testing.assert_allclose(weights, own, atol=2e-4)  # Adam makes much of the sign of a gradient near zero
    assert alone[0][0] > alone[2][0]


def test_with_statistics_of_each_process_and_dropout_curves_are_close() -> None:
    alone, _ = learned(Processes(), 0.1, {})
    (first, weights), (second, others) = together(2, learned, 0.1, {})
    np.testing.assert_array_equal(weights, others)  # running statistics among them
    assert first == second
    losses, expected = (np.array([loss for loss, _ in curve[:3]]) for curve in (first, alone))
    np.testing.assert_allclose(losses, expected, rtol=0.15)
    assert (losses != expected).all()  # each process draws its own dropout


def test_going_on_from_a_checkpoint_is_the_same_to_the_bit() -> None:
    (whole, second), (other_whole, other_second) = together(2, resumed)
    assert whole == second == other_whole == other_second


def test_the_first_process_tells_the_others() -> None:
    first, second = together(2, messages)
    assert first == second == MESSAGES


def test_a_checkpoint_of_another_number_of_processes_is_refused() -> None:
    run = trainer(Processes())
    result = run.run_epoch()
    row = {"epoch": 1, "loss": result.loss}
    progress = {"history": [row], "best": -1.0, "best_epoch": 0, "best_weights": None}
    state = {"trainer": run.state(), "progress": progress, "threads": 1}
    resuming.restore(trainer(Processes()), state)  # as they were written before there were several
    with pytest.raises(UsageError, match=r"begun by 2 processes, .* go on with torchrun --nproc-per-node 2"):
        resuming.restore(trainer(Processes()), state | {"processes": 2})
    with pytest.raises(IntegrityError, match="no number of threads or processes"):
        resuming.restore(trainer(Processes()), state | {"processes": "two"})


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({"sync_batchnorm": True}, 2, "on CUDA only"),
        ({"batch_size": 5}, 3, "too few for 3 processes"),
    ],
)
def test_what_these_processes_cannot_do_is_told(changes: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trainer(Processes(0, size), **changes)


def test_every_weight_of_every_network_has_a_gradient() -> None:
    """DistributedDataParallel waits for all of them."""
    for name in registry.names("models"):
        network = models.build(name, small(name), shape_of(name), 3)
        network(*shape_of(name).zeros(2)).sum().backward()
        assert [key for key, value in network.named_parameters() if value.grad is None] == [
            key
            for key, _ in network.named_parameters()
            if key.startswith("heads.1.")  # rows without a head
        ]


# Commands


TRAIN = ("--model", "att_crnn", "--fold", 1, *SMALL, "--set", "precision=float32", "--batch-size", 10)
STILL = tuple(f"--set {name}" for name in ("freeze_batchnorm=true", "conv_dropout=0.0", "rnn_dropout=0.0"))
EXACT = (*TRAIN, "--mix", "between_class", *" ".join(STILL).split())


def told(words: tuple[Any, ...], rank: int, port: int, log: Path, fault: str) -> None:
    """A command in the place of one of two processes; what it says goes into a file."""
    torch.set_num_threads(1)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.update(environment(rank, 2, port) | {"ASCTOOL_FAULT": fault})
        os._exit(run([str(word) for word in words]))


def commanded(folder: Path, *words: Any, fault: str = "") -> tuple[list[int], list[str]]:
    """The exit codes of two processes with the same command, and the lines that either says."""
    logs = [folder / f"{rank}.log" for rank in range(2)]
    with server() as port:
        started = [CONTEXT.Process(target=told, args=(words, rank, port, log, fault)) for rank, log in enumerate(logs)]
        for process in started:
            process.start()
        for process in started:
            process.join(SECONDS)
    return [process.exitcode for process in started], [line for log in logs for line in log.read_text().splitlines()]


def torchrun(*words: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, *words]
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=4 * SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def curve_of(directory: Path) -> list[list[float]]:
    with (directory / "history.csv").open() as file:
        return [[float(value) for name, value in row.items() if name != "seconds"] for row in csv.DictReader(file)]


def test_torchrun_killed_and_run_again_ends_as_one_process_does(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", corpus / "logmel", tmp_path / "two", *EXACT, "--epochs", 3, "--monitor", "test")
    script = tmp_path / "every_epoch.py"
    script.write_text(
        "from asctool import cli\nfrom asctool.stages import train\ntrain.CHECKPOINT_SECONDS = 0.0\ncli.main()\n"
    )
    killed = torchrun("--", script, *words, ASCTOOL_FAULT="after-checkpoint:2")
    assert killed.returncode == 1 and "exitcode  : -9" in killed.stderr
    assert not (tmp_path / "two" / "manifest.json").exists()
    capsys.readouterr()
    assert run([str(word) for word in words]) == 2
    assert "two: was begun by 2 processes, and this is 1: go on with torchrun" in capsys.readouterr().err
    again = torchrun("-m", "--", "asctool", *words)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("going on after epoch 2") == 1 and again.stderr.count("two: written") == 1
    asctool(*words[:2], tmp_path / "one", *words[3:], "--quiet")
    np.testing.assert_allclose(curve_of(tmp_path / "two"), curve_of(tmp_path / "one"), atol=2e-5)
    assert manifest.read(tmp_path / "two")["processes"] == 2
    assert run([str(word) for word in words]) == 0  # what is finished is recognised by any number
    assert "two: is there already" in capsys.readouterr().err


THREADED = """
import threading, torch
from asctool import cli

def compute():
    while True:
        torch.ones(100) + 1

for _ in range(4):
    threading.Thread(target=compute, daemon=True).start()
cli.main()
"""


@pytest.mark.parametrize(("words", "code"), [(("list", "networks"), 0), (("list", "nothing"), 2)])
def test_a_thread_of_torchs_does_not_abort_the_end(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    """A thread that wants Python when it is half gone aborts the process; gloo's outlive their group."""
    script = tmp_path / "threaded.py"
    script.write_text(THREADED)
    with server() as port:
        started = {**os.environ, **environment(0, 1, port)}
        ended = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, env=started)
    assert ended.returncode == code, ended.stderr
    assert "att_crnn" in ended.stdout or "nothing" in ended.stderr


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--set", "typo=1"), 2, "asctool train: unknown setting 'typo'"),
        (("--fold", 7), 2, "asctool train: "),
        (("--set", "sync_batchnorm=true"), 2, "asctool train: sync_batchnorm=true"),
        (("--device", "cuda:0"), 4, "asctool train: --device cuda:0: there are 0 CUDA devices here"),
        (("--no-such-option",), 2, "No such option"),
    ],
)
def test_a_refusal_is_told_once_and_ends_all(
    more: tuple[Any, ...], code: int, message: str, corpus: Path, tmp_path: Path
) -> None:
    words = ("train", corpus / "logmel", tmp_path / "out", *TRAIN, "--quiet", *more)
    codes, lines = commanded(tmp_path, *words)
    assert codes == [code, code]
    assert sum(message in line for line in lines) == 1
    assert sum(line.startswith("asctool train:") for line in lines) == message.startswith("asctool train:")


def test_a_full_disk_ends_all_and_a_lock_too(corpus: Path, tmp_path: Path) -> None:
    words = ("train", corpus / "logmel", tmp_path / "out", *TRAIN, "--epochs", 1, "--quiet")
    with locks.writer_lock(tmp_path / "out"):
        codes, lines = commanded(tmp_path, *words)
    assert codes == [4, 4] and len(lines) == 1 and "is writing it; wait for it or stop it" in lines[0]
    codes, lines = commanded(tmp_path, *words, fault="before-checkpoint:1:full")
    assert codes == [4, 4] and len(lines) == 1 and "no room" in lines[0]
