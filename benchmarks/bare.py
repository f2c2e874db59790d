"""The bare passes that a method needs, with nothing around them: the limit that an explainer can reach."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_segxai.models.introspection.modules import named_modules


def seconds(work: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Median wall-clock time of `work`, after one run that does not count."""
    work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_layout(tensor: Tensor) -> Tensor:
    """The memory layout in which convolutions are fastest: channels last for 2D."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def often(seconds: float) -> int:
    """How often work that takes so long is repeated: what is quick varies more, and costs less to repeat."""
    return max(3, min(75, round(20 / seconds)))


def best_forward(run: Callable[[Tensor], Tensor], tensor: Tensor, largest: int = 32) -> tuple[float, int]:
    """Seconds per image at the best batch size (powers of two), and that batch size."""
    best = (float("inf"), 1)
    batch = 1
    while batch <= largest:
        x = best_layout(tensor.repeat(batch, *(1,) * (tensor.ndim - 1)))
        try:
            with torch.inference_mode():
                repeats = 3 if batch * best[0] > 0.1 else 15
                best = min(best, (seconds(lambda x=x: run(x), tensor.device, repeats) / batch, batch))
        except torch.OutOfMemoryError:
            break
        batch *= 2
    return best


def paired(
    work: Callable[[], object], bare: Callable[[], object], device: torch.device, repeats: int
) -> tuple:
    """Median seconds of `work` and of `bare`, and the median ratio of pairs that were run one after the other."""
    work(), bare()
    pairs = []
    for _ in range(repeats):
        times = []
        for side in (work, bare):
            synchronize(device)
            start = time.perf_counter()
            side()
            synchronize(device)
            times.append(time.perf_counter() - start)
        pairs.append(times)
    ours, theirs = zip(*pairs, strict=True)
    return statistics.median(ours), statistics.median(theirs), statistics.median(a / b for a, b in pairs)


def forwards(run: Callable[[Tensor], Tensor], tensor: Tensor, count: int, batch: int) -> Callable[[], None]:
    """`count` forward passes in batches."""
    x = best_layout(tensor.repeat(batch, *(1,) * (tensor.ndim - 1)))

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, count, batch):
                run(x[: min(batch, count - start)])

    return work


def to_input(run: Callable[[Tensor], Tensor], tensor: Tensor) -> Callable[[], None]:
    """One forward and one backward pass, with the gradient of the input."""
    x = best_layout(tensor).clone().requires_grad_(True)

    def work() -> None:
        torch.autograd.grad(run(x)[:, -1].mean(), [x])

    return work


def to_layer(
    run: Callable[[Tensor], Tensor], module: nn.Module, name: str, tensor: Tensor
) -> Callable[[], None]:
    """One forward and one backward pass, with the gradient of a network layer's output."""
    layer = dict(named_modules(module))[name]
    tensor = best_layout(tensor)

    def work() -> None:
        kept: list[Tensor] = []

        def hook(_module: nn.Module, _args: object, out: Tensor) -> Tensor:
            kept.append(out.detach().requires_grad_(True))
            return kept[-1]

        handle = layer.register_forward_hook(hook)
        try:
            torch.autograd.grad(run(tensor)[:, -1].mean(), kept)
        finally:
            handle.remove()

    return work
