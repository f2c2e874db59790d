"""Passes of one shape that come again and again, captured on a GPU once and then replayed.

A pass of one image keeps a GPU busy for a fraction of the time in which Python starts its hundreds of operations. A CUDA
graph starts all of them at once. Only the network is captured, not what makes its input or reads its output: those may
depend on how far the work is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from napari_segxai.models.inference.device import reads_tensor_float32
from napari_segxai.models.inference.memory import free
from napari_segxai.models.introspection.modules import all_modules

EAGER = 3
"""Passes of a shape that are run as ever, before it is captured: they also set up what is set up once."""

TOLERANCE = 1e-3
"""Largest difference between a replayed and an ordinary pass, as a share of the largest value."""

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Graphs:
    """The captured passes of one network; what cannot be captured is run as ever.

    Parameters
    ----------
    module
        The network. Where somebody's hooks look at it, nothing is captured: a replay calls none.
    """

    def __init__(self, module: nn.Module):
        self.module = module
        self._runs: dict[tuple[Any, ...], int] = {}
        self._graphs: dict[tuple[Any, ...], _Graph | None] = {}

    def __call__(self, run: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
        """Run the network on an input that takes a gradient.

        Parameters
        ----------
        run
            (n, channels, *grid) -> logits, differentiable. It is not kept: who has these graphs would be held by them.
        tensor
            (n, channels, *grid).
        """
        if tensor.device.type != "cuda" or not tensor.requires_grad or torch.is_autocast_enabled("cuda"):
            return run(tensor)
        key = tuple(tensor.shape), tuple(tensor.stride()), reads_tensor_float32()
        if key not in self._graphs:
            self._runs[key] = self._runs.get(key, 0) + 1
            if self._runs[key] <= EAGER:
                return run(tensor)
            self._graphs[key] = _captured(run, self.module, tensor)
        graph = self._graphs[key]
        return run(tensor) if graph is None else _Replay.apply(tensor, graph)


class _Graph:
    """A forward and a backward pass, whose inputs and outputs lie where they were captured.

    Raises
    ------
    RuntimeError
        If the network does what cannot be captured, such as waiting for a value.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], tensor: Tensor):
        self.input = tensor.detach().clone().requires_grad_(True)
        self.passes = 0  # forward ones; what the backward pass reads is that of the last
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # Other threads may go on using the device: another dock's job, say.
        with torch.cuda.graph(self.forward, capture_error_mode="thread_local"):
            output = run(self.input)
        self.slope = torch.zeros_like(output)
        with torch.cuda.graph(self.backward, pool=self.forward.pool(), capture_error_mode="thread_local"):
            (self.gradient,) = torch.autograd.grad(output, [self.input], self.slope)
        self.output = output.detach()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, graph: _Graph) -> Tensor:
        graph.input.detach().copy_(tensor)
        graph.forward.replay()
        graph.passes += 1
        ctx.graph, ctx.number = graph, graph.passes
        return graph.output.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        graph = ctx.graph
        assert ctx.number == graph.passes, (
            "another forward pass has overwritten what this backward pass needs"
        )
        graph.slope.copy_(slope)
        graph.backward.replay()
        return graph.gradient.clone(), None


def _captured(run: Callable[[Tensor], Tensor], module: nn.Module, tensor: Tensor) -> _Graph | None:
    """Return the graph of a pass; None where there is none, or where it gives something else than the pass itself."""
    if any(vars(one).get(hooks) for one in all_modules(module) for hooks in HOOKS):
        return None
    leaf = tensor.detach().clone().requires_grad_(True)
    wanted = _both(run, leaf)
    try:
        graph = _Graph(run, leaf)
        found = _both(lambda one: _Replay.apply(one, graph), leaf)
    except Exception:  # a network can do anything; what is really wrong with it, the ordinary pass says
        graph = found = None
    if graph is None or found is None:
        free(tensor.device)
        return None
    alike = all(
        bool((a - b).abs().max() <= TOLERANCE * b.abs().max()) for a, b in zip(found, wanted, strict=True)
    )
    return graph if alike else None


def _both(run: Callable[[Tensor], Tensor], leaf: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, and the gradient of their sum of squares: every logit counts."""
    logits = run(leaf)
    (gradient,) = torch.autograd.grad(logits, [leaf], 2 * logits.detach())
    return logits.detach(), gradient
