"""The benchmarks' own machinery; no speed is measured here."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("gammatone", reason="the gammatone package is not installed (extra dev)")
from asctool.models._layers import InputShape
from benchmarks import cases, engine, flops, gpu

CPU = torch.device("cpu")


def test_the_clock_counts_as_long_as_it_is_entered() -> None:
    case = cases.of(cases.LITIS, 4, 4)
    trainer = cases.trainer_of(case, cases.made(case), CPU)
    before = trainer.network.forward, trainer.optimizer.step, torch.Tensor.backward
    with engine.Clock(trainer) as clock:
        start = time.perf_counter()
        trainer.run_epoch()
        whole = time.perf_counter() - start
    counted = clock.seconds
    assert 0.2 * whole < counted < whole
    trainer.run_epoch()
    assert clock.seconds == counted
    assert (trainer.network.forward, trainer.optimizer.step, torch.Tensor.backward) == before


def test_operations_are_counted_by_hand() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = nn.Conv2d(2, 3, (3, 5), padding=(1, 2)), nn.Linear(12, 7)
            self.gru = nn.GRU(12, 6, batch_first=True, bidirectional=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.conv(images)  # (row, 3, 4, 8)
            return self.dense(self.gru(maps.flatten(1, 2).transpose(1, 2))[0])

    convolution = 2 * 3 * 4 * 8 * (2 * 3 * 5)
    recurrent = 2 * 8 * 2 * 3 * 6 * (12 + 6)  # two directions, three gates, input and state
    dense = 2 * 8 * 12 * 7
    assert flops.of_a_row(Network(), InputShape(2, 4, 8)) == convolution + recurrent + dense


def test_the_gpu_suite_goes_through_on_the_processor(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "side_by_side", lambda size, device: [])  # two more processes that import torch
    assert gpu.main(["--device", "cpu", "--tiny", "--markdown", str(tmp_path / "table.md")]) == 0
    page = (tmp_path / "table.md").read_text()
    for what in ("posteriors of acrnn, cpu, bfloat16", "train att_crnn, 8 rows", "extract acrnn, operations"):
        assert what in page
    assert "no CUDA device" in page and "train acrnn, 8 rows" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_the_gpu_suite_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "there is no CUDA device here" in capsys.readouterr().err


def test_unknown_lines_are_told_with_those_there_are() -> None:
    command = [sys.executable, "-m", "benchmarks", "cpu", "no_such_line"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 2 and "unknown rows no_such_line (known: log_mel," in done.stderr


def test_rows_of_a_made_store_stream_in_the_order_of_an_epoch(tmp_path: Path) -> None:
    from asctool.storage import rows
    from asctool.storage.store import Store
    from benchmarks import streaming

    n_bytes = streaming.make_store(tmp_path / "store", 300, (1, 2, 3))
    assert n_bytes == 300 * 6 * 2
    disk, memory = (rows.load(Store(tmp_path / "store"), 1, stream) for stream in ("yes", "no"))
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(disk.features[order], memory.features[order])
    assert set(disk.subset) == {"train"} and disk.targets.sum() == 300
