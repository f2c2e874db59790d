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
        (parameter, logits) -> scalar. Steps that have the very same `inputs` and `loss` are made by one call of each: their
        parameters come as one, one after the other along the first axis, and the loss of each is returned, (n,).
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
                n = min(len(waiting), batch_size(waiting[0].executor, gradients=True))
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


def _functions(step: GradientStep) -> tuple[int, int]:
    return id(step.inputs), id(step.loss)


def _joined(steps: Sequence[GradientStep]) -> Tensor:
    """Return the parameters of steps with the same functions as one leaf."""
    if len(steps) == 1:
        return steps[0].parameter
    return torch.cat([step.parameter.detach() for step in steps]).requires_grad_(True)


def _took(steps: Sequence[GradientStep]) -> bool:
    """Take some steps in one batch; False when memory ran out."""
    executor = steps[0].executor
    try:
        with torch.enable_grad(), descending(executor):
            groups = [list(alike) for _, alike in groupby(steps, key=_functions)]
            parameters = [_joined(group) for group in groups]
            inputs = [group[0].inputs(one) for group, one in zip(groups, parameters, strict=True)]
            logits = executor.repeat(inputs[0] if len(inputs) == 1 else torch.cat(inputs))
            parts = logits.split([len(group) for group in groups]) if len(groups) > 1 else [logits]
            losses = [group[0].loss(*both) for group, *both in zip(groups, parameters, parts, strict=True)]
            totals = [loss.sum() if loss.ndim else loss for loss in losses]
            found = torch.autograd.grad(totals, parameters)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    values = [value for loss in losses for value in loss.detach().reshape(-1)]
    gradients = [
        gradient
        for group, one in zip(groups, found, strict=True)
        for gradient in (one.split(1) if len(group) > 1 else [one])
    ]
    for step, value, gradient in zip(steps, values, gradients, strict=True):
        step.value, step.gradient = value, gradient
        if step.price is not None:
            price, slope = step.price()
            step.value, step.gradient = step.value + price, gradient.add_(slope)
        step.executor.passes.forward += 1
        step.executor.passes.backward += 1
    return True
