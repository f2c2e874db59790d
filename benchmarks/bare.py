"""The bare passes that a method needs, with nothing around them: the limit that an explainer can reach."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from napari_segxai.engine.modules import named_modules


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


def best_forward(run: Callable[[Tensor], Tensor], tensor: Tensor, largest: int = 32) -> tuple[float, int]:
    """Seconds per image at the best batch size (powers of two), and that batch size."""
    best = (float("inf"), 1)
    batch = 1
    while batch <= largest:
        x = best_layout(tensor.repeat(batch, *(1,) * (tensor.ndim - 1)))
        try:
            with torch.inference_mode():
                best = min(best, (seconds(lambda x=x: run(x), tensor.device, 3) / batch, batch))
        except torch.OutOfMemoryError:
            break
        batch *= 2
    return best


def forward_backward_to_input(run: Callable[[Tensor], Tensor], tensor: Tensor) -> float:
    """Seconds of one forward and one backward pass, with the gradient of the input."""
    x = best_layout(tensor).clone().requires_grad_(True)

    def work() -> None:
        torch.autograd.grad(run(x)[:, -1].mean(), [x])

    return seconds(work, tensor.device, 5)


def forward_backward_to_layer(
    run: Callable[[Tensor], Tensor], module: nn.Module, name: str, tensor: Tensor
) -> float:
    """Seconds of one forward and one backward pass, with the gradient of a network layer's output."""
    layer = dict(named_modules(module))[name]
    tensor = best_layout(tensor)
    kept: list[Tensor] = []

    def hook(_m: nn.Module, _a: object, out: Tensor) -> Tensor:
        kept.append(out.detach().requires_grad_(True))
        return kept[-1]

    handle = layer.register_forward_hook(hook)

    def work() -> None:
        kept.clear()
        torch.autograd.grad(run(tensor)[:, -1].mean(), kept)

    try:
        return seconds(work, tensor.device, 5)
    finally:
        handle.remove()
