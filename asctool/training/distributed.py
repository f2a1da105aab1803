"""Processes that train one network together: those that torchrun started, each with its share of every batch.

The first of them writes and speaks; what it alone knows it tells the others. Whichever fails first says why, and all
end with its exit code. A training by itself is its own first and only process, and pays for none of this: torch is
imported where there is somebody to talk to.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from asctool.errors import EnvironmentFailure, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of what torchrun started
ENDED = "asctool/ended"  # in torchrun's store: which process ended first, and with which exit code
CLAIM_SECONDS = 5.0  # for torchrun to answer; it may have ended itself
OF_OTHERS = ("gloo", "NCCL", "Connection", "connection")  # in what torch says when another process is gone


@dataclass(frozen=True)
class Processes:
    """Which of the processes this is, counted from 0, and how many there are."""

    rank: int = 0
    size: int = 1
    device: "torch.device | None" = None  # through which they talk

    @property
    def is_first(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0

    def add_up(self, tensor: "Tensor") -> "Tensor":
        """The sum of all processes' tensors, in the place of this one's."""
        if self.size > 1:
            from torch import distributed as group

            group.all_reduce(tensor)
        return tensor

    def told(self, know: Callable[[], bytes | None]) -> bytes | None:
        """What the first process finds out; the others do not ask."""
        data = know() if self.is_first else None
        if self.size == 1:
            return data
        import torch
        from torch import distributed as group

        length = torch.tensor([-1 if data is None else len(data)], device=self.device)
        group.broadcast(length, 0)
        if length.item() < 0:
            return None
        buffer = torch.empty(int(length), dtype=torch.uint8, device=self.device)
        if data:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        group.broadcast(buffer, 0)
        return buffer.cpu().numpy().tobytes()

    def rows_of(self, n_rows: int) -> np.ndarray:
        """The rows of a set that this process looks at: as many as the others do, the last one again where too few."""
        each = -(-n_rows // self.size)
        return np.minimum(np.arange(self.rank * each, (self.rank + 1) * each), n_rows - 1)

    def joined(self, outputs: np.ndarray, n_rows: int) -> np.ndarray:
        """Outputs of all rows of a set from those of :meth:`rows_of` of every process."""
        if self.size == 1:
            return outputs
        import torch
        from torch import distributed as group

        own = torch.from_numpy(np.ascontiguousarray(outputs)).to(self.device)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        group.all_gather(parts, own)
        return torch.cat(parts)[:n_rows].cpu().numpy()

    def wrapped(self, network: "nn.Module") -> "nn.Module":
        """The network with gradients that are means over the processes; batch statistics stay each process's own."""
        if self.size == 1:
            return network
        from torch.nn.parallel import DistributedDataParallel

        places = [self.device] if self.device is not None and self.device.type == "cuda" else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the option is to be called something else one day
            return DistributedDataParallel(network, device_ids=places, broadcast_buffers=False)

    def average_statistics(self, network: "nn.Module") -> None:
        """Running batch statistics become means over the processes, so that all have the same network."""
        if self.size > 1:
            for buffer in network.buffers():
                if buffer.is_floating_point():
                    self.add_up(buffer).div_(self.size)


ALONE = Processes()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun started, joined for as long as this lasts; this one alone where it did not.

    EnvironmentFailure where another one is gone before the end.
    """
    if TORCHRUN not in os.environ or os.environ["WORLD_SIZE"] == "1":
        yield ALONE
        return
    from torch import distributed as group

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = device_of(device)
    processes = Processes(rank, size, place)
    try:
        group.init_process_group("nccl" if place.type == "cuda" else "gloo", rank=rank, world_size=size)
        yield processes
        group.barrier()  # nobody ends well before the first process has written everything
    except RuntimeError as error:
        if not any(word in str(error) for word in OF_OTHERS):
            raise
        raise EnvironmentFailure("another process of this training has ended; run it again to go on") from error
    group.destroy_process_group()


def device_of(name: str) -> "torch.device":
    """The device of this process: under torchrun the CUDA device of its number on this machine.

    UsageError for a device with a number there, EnvironmentFailure where there are fewer than processes.
    """
    import torch

    from asctool.training import devices

    device = devices.choose(name)
    if device.type == "cpu" or int(os.environ.get("WORLD_SIZE", "1")) == 1 or TORCHRUN not in os.environ:
        return device
    if device.index is not None:
        raise UsageError(f"--device {name}: torchrun's processes take a device each; give auto, cuda or cpu")
    number, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= there:
        n_processes = os.environ.get("LOCAL_WORLD_SIZE", "more")
        raise EnvironmentFailure(
            f"{n_processes} processes for {there} CUDA devices here; "
            f"give torchrun --nproc-per-node {there}, or --device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def claim(code: int) -> int | None:
    """The exit code of the process that ended first, which has said why; None where that is this one.

    Of what torchrun started; alone there is nobody to ask.
    """
    if TORCHRUN not in os.environ:
        return None
    from torch import distributed as group

    rank = os.environ["RANK"]
    try:
        # A connection of its own: the other one may be busy with waiting.
        place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        store = group.TCPStore(  # type: ignore[attr-defined]
            *place, timeout=timedelta(seconds=CLAIM_SECONDS), wait_for_workers=False
        )
        first, its_code = store.compare_set(ENDED, "", f"{rank} {code}").decode().split()
    except (RuntimeError, ValueError):
        return None  # torchrun is gone: say it rather twice than never
    return None if first == rank else int(its_code)


def leave(code: int) -> NoReturn:
    """End one of several processes at once, without Python's taking itself down.

    DistributedDataParallel keeps gloo's threads alive beyond ``destroy_process_group`` (torch 2.13); one that still
    holds a tensor asks for Python when that is half gone, which aborts the process (PyTorch issue 38228).
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # as Python does: nobody is left to be told
            stream.flush()
    os._exit(code)
