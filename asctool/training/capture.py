"""Forward and backward pass by a faster way than kernel by kernel: recorded as a CUDA graph.

A way is tried on the first batch and held against the plain way; where it fails, or finds another gradient, everything
goes on as without it, and the reason is told once.
"""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Tensors of a batch -> what is summed of it, the loss first. Forgets the gradients at the weights, leaves its own.
Compute = Callable[..., Tensor]
# Makes a faster computation of batches of these shapes out of the plain one.
Way = Callable[[Compute, tuple[Tensor, ...]], Compute]
WARM_UP = 3  # times computed before it is recorded: libraries choose algorithms and allocate
SAME = 0.02  # largest distance of two gradients over their norm; bfloat16 and atomic sums differ by a tenth of it
log = logging.getLogger("asctool")


class Captured:
    """A computation by a faster way where that holds; batches of another shape than the first take the plain one."""

    def __init__(self, plain: Compute, way: Way, network: nn.Module, device: torch.device) -> None:
        self.plain = plain
        self.way = way
        self.network = network
        self.device = device
        self.fast: Compute | None = None
        self.shapes: list[torch.Size] | None = None

    def __call__(self, *tensors: Tensor) -> Tensor:
        """What the plain computation gives."""
        if self.shapes is None:
            self.shapes = [tensor.shape for tensor in tensors]
            self._try(tensors)
        if self.fast is not None and [tensor.shape for tensor in tensors] == self.shapes:
            return self.fast(*tensors)
        return self.plain(*tensors)

    def _try(self, tensors: tuple[Tensor, ...]) -> None:
        """Make the faster way and compare; batch statistics and random states are left as they were."""
        state = _State(self.network, self.device)
        try:
            fast = self.way(self.plain, tensors)
            state.restore()
            expected = self._found(self.plain, tensors)
            state.restore()
            apart = _distance(self._found(fast, tensors), expected)
            if not apart <= SAME:
                raise RuntimeError(f"its gradient is {apart:.2g} of the norm away")
            self.fast = fast
        except Exception as error:  # whatever a compiler or a driver may raise: there is no list of it
            reason = str(error).partition("\n")[0] or type(error).__name__
            log.warning("training goes on kernel by kernel: a captured step does not work here (%s)", reason)
        state.restore()

    def _found(self, compute: Compute, tensors: tuple[Tensor, ...]) -> list[Tensor]:
        sums = compute(*tensors).clone()
        return [sums[:1], *(p.grad.clone() for p in self.network.parameters() if p.grad is not None)]


class _State:
    """What computing a batch changes besides gradients."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.device = device
        self.buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
        self.random = torch.get_rng_state()
        self.random_there = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self) -> None:
        """Bring all of it back."""
        for buffer, before in self.buffers:
            buffer.copy_(before)
        torch.set_rng_state(self.random)
        if self.random_there is not None:
            torch.cuda.set_rng_state(self.random_there, self.device)


def _distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """The larger of how far two losses and two gradients are apart, relative to the expected ones."""
    if len(found) != len(expected):
        return float("inf")

    def of(first: list[Tensor], second: list[Tensor]) -> Tensor:
        away = torch.stack([(a.float() - b.float()).square().sum() for a, b in zip(first, second)]).sum()
        return (away / torch.stack([b.float().square().sum() for b in second]).sum().clamp(min=1e-20)).sqrt()

    return max(of(found[:1], expected[:1]).item(), of(found[1:], expected[1:]).item())


def recorded(network: nn.Module, device: torch.device) -> Way:
    """The way by a CUDA graph: its kernels are launched together, on copies of the batch at fixed places."""

    def make(plain: Compute, tensors: tuple[Tensor, ...]) -> Compute:
        if device.type != "cuda":
            raise RuntimeError("graphs are CUDA's")
        places = tuple(tensor.clone() for tensor in tensors)  # which keeps channels last
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                plain(*places)
        torch.cuda.current_stream(device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # a thread may pin rows it reads meanwhile
            sums = plain(*places)
        gradients = [(parameter, parameter.grad) for parameter in network.parameters()]

        def replay(*given: Tensor) -> Tensor:
            for place, tensor in zip(places, given):
                place.copy_(tensor)
            graph.replay()
            for parameter, gradient in gradients:  # a batch of another shape has put its own there
                parameter.grad = gradient
            return sums

        return replay

    return make
