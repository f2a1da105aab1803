"""What numba compiles: the same bits out of the cache, one process at a time, and no signal is lost meanwhile."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from asctool.dsp import _compiled

ALL_OF_THEM = """
import hashlib
import numpy as np
from asctool.dsp import frames, noise
from asctool.features import gammatone, logmel

rng = np.random.default_rng(0)
samples, power = rng.normal(size=8000).astype("f"), rng.uniform(size=(200, 129)).astype("f")
bank = gammatone.Config(method="filterbank", n_bands=8)
for found in (
    logmel.extract(samples, 16000, logmel.Config()),
    logmel.extract(samples, 16000, logmel.Config(frame_seconds=0.567)),  # 9072 points: scipy
    gammatone.extract(samples, 16000, bank),
    noise.minimum_statistics(power, 0.016),
):
    print(hashlib.sha256(np.ascontiguousarray(found)).hexdigest())
"""


class Fake:
    """What numba.njit makes of a function, as far as it is used here."""

    def __init__(self, folder: Path, compile_it: Callable[[tuple], object]) -> None:
        self.stats, self.compile_it = SimpleNamespace(cache_path=str(folder)), compile_it
        self.overloads: list[tuple] = []
        self.can_compile = True

    def compile(self, signature: tuple) -> None:
        assert self.can_compile
        self.compile_it(signature)
        self.overloads.append(signature)

    def disable_compile(self) -> None:
        self.can_compile = False


def test_the_same_bits_compiled_and_out_of_the_cache(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", ALL_OF_THEM]
    first, second = (
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)
    )
    assert len(set(first.split())) == 4 and first == second


def test_nobody_else_compiles_meanwhile(tmp_path: Path) -> None:
    """Numba's index of compiled variants is no place for two writers."""
    seen = []

    def compile_it(signature: tuple) -> None:
        with (tmp_path / _compiled.LOCK).open() as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(signature)

    _compiled.compile_alone(Fake(tmp_path, compile_it), ("types",))
    assert seen == [("types",)]
    with (tmp_path / _compiled.LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it is free again


def test_a_cache_without_locks_is_used_all_the_same(tmp_path: Path) -> None:
    seen: list[tuple] = []
    _compiled.compile_alone(Fake(tmp_path / "gone", seen.append), ("types",))
    assert seen == [("types",)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_compiler(tmp_path: Path, number: signal.Signals) -> None:
    """Its handler runs once, after it, and whatever it raises is raised; then handlers are as they were."""
    seen: list[object] = []

    def handler(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise InterruptedError

    def compile_it(signature: tuple) -> None:
        signal.raise_signal(number)
        signal.raise_signal(number)
        seen.append(signature)

    before = signal.signal(number, handler)
    try:
        with pytest.raises(InterruptedError):
            _compiled.compile_alone(Fake(tmp_path, compile_it), ("types",))
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    assert seen == [("types",), number]


def test_threads_other_than_the_main_one_compile_once(tmp_path: Path) -> None:
    seen: list[tuple] = []
    fake = Fake(tmp_path, lambda signature: (time.sleep(0.05), seen.append(signature)))
    threads = [threading.Thread(target=_compiled.compile_alone, args=(fake, ("types",))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [("types",)]
