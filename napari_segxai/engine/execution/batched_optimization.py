"""Gradient steps of several optimisations in one batch: several labels, images or settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.execution.batch_size import batch_size, remember_batch
from napari_segxai.engine.execution.executor import Executor
from napari_segxai.engine.execution.mixed_precision import descending
from napari_segxai.models.inference.memory import OutOfMemory, free, is_out_of_memory

T = TypeVar("T")


@dataclass(eq=False)
class GradientStep:
    """One gradient step that is wanted.

    Attributes
    ----------
    executor
        Runs the network, and counts.
    parameter
        What is optimised.
    inputs
        parameter -> the network's input (1, channels, *grid), differentiable.
    loss
        (parameter, logits) -> scalar.
    price
        Returns a further term of the loss, and its gradient; written out, it costs less.
    value, gradient
        The loss and its gradient, once it has been taken.
    """

    executor: Executor
    parameter: Tensor
    inputs: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    price: Callable[[], tuple[Tensor, Tensor]] | None = None
    value: Tensor | None = None
    gradient: Tensor | None = None


class StepBatcher:
    """Where optimisations of one network meet before every pass; `members` says how many there are."""

    def __init__(self) -> None:
        self.members = 0
        self._steps: list[GradientStep] = []

    def enter(self, step: GradientStep) -> None:
        """Ask for a step; once every member has, all of them are taken."""
        self._steps.append(step)
        self.take()

    def leave(self, step: GradientStep | None) -> None:
        """Leave, having finished or been stopped; `step` is what it may still have asked for."""
        self.members -= 1
        self._steps = [one for one in self._steps if one is not step]

    def take(self) -> None:
        """Take the steps, if nobody is missing."""
        if len(self._steps) < self.members:
            return
        steps, self._steps = self._steps, []
        # Inputs of one batch have one shape.
        for _, alike in groupby(sorted(steps, key=_grid), key=_grid):
            waiting = list(alike)
            while waiting:
                n = len(waiting)
                if n > 1:  # asked for at every step, and adds up all weights
                    n = min(n, batch_size(waiting[0].executor, gradients=True))
                if _took(waiting[:n]):
                    del waiting[:n]
                    continue
                free(waiting[0].executor.device)
                if n == 1:
                    raise OutOfMemory(waiting[0].executor.device)
                remember_batch(waiting[0].executor, n // 2, gradients=True)


def side_by_side(works: Sequence[Steps[T]]) -> Steps[list[T]]:
    """Let several pieces of work of one question take their steps in turn; return what each has found."""
    found: dict[int, T] = {}
    try:
        while len(found) < len(works):
            step = None
            for k, work in enumerate(works):
                if k in found:
                    continue
                try:
                    step = next(work)
                except StopIteration as done:
                    found[k] = done.value
            if step is not None:
                yield step
    finally:
        for work in works:
            work.close()
    return [found[k] for k in range(len(works))]


def _grid(step: GradientStep) -> tuple[int, ...]:
    return step.executor.grid


def _took(steps: Sequence[GradientStep]) -> bool:
    """Take some steps in one batch; False when memory ran out."""
    executor = steps[0].executor
    try:
        with torch.enable_grad(), descending(executor):
            inputs = [step.inputs(step.parameter) for step in steps]
            logits = executor.repeat(inputs[0] if len(inputs) == 1 else torch.cat(inputs))
            parts = logits.split(1) if len(steps) > 1 else [logits]
            values = [step.loss(step.parameter, part) for step, part in zip(steps, parts, strict=True)]
            gradients = torch.autograd.grad(values, [step.parameter for step in steps])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    for step, value, gradient in zip(steps, values, gradients, strict=True):
        step.value, step.gradient = value.detach(), gradient
        if step.price is not None:
            price, slope = step.price()
            step.value, step.gradient = step.value + price, gradient.add_(slope)
        step.executor.passes.forward += 1
        step.executor.passes.backward += 1
    return True
