"""A mask found by gradient descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.execution.batched_optimization import GradientStep, StepBatcher
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.gradient_check import check_gradients
from napari_segxai.engine.primitives.optimizers import Descent
from napari_segxai.engine.question import Question


def optimize(
    question: Question,
    parameter: Tensor,
    inputs: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    iterations: int,
    descent: Callable[[Tensor], Descent],
    after: Callable[[Tensor], None],
    note: str,
    price: Callable[[], tuple[Tensor, Tensor]] | None = None,
    partial: Callable[[], Finding] | None = None,
    batcher: StepBatcher | None = None,
) -> Steps[Tensor]:
    """Minimise `loss` over `parameter`, which is changed in place.

    Questions that are asked at the same time share their passes: one batch for all of them.

    Parameters
    ----------
    inputs
        parameter -> the network's input (1, channels, *grid), differentiable.
    loss
        (parameter, logits (1, labels, *grid)) -> scalar.
    descent
        parameter -> the rule by which it descends.
    after
        Called without gradient after every update, e.g. to clamp.
    price
        Returns a further term of the loss, and its gradient by `parameter`; see `regularizers.py`.
    batcher
        Where several optimisations of one question meet; see `side_by_side`.

    Returns
    -------
    Tensor
        (iterations,): the loss before every update. It stays on the device until the end, so that no
        iteration waits for the host.
    """
    check_gradients(question.model)
    rule = descent(parameter)
    parameter.requires_grad_(True)
    if batcher is None:
        batcher = question.batcher or StepBatcher()
    losses: list[Tensor] = []
    step: GradientStep | None = None
    batcher.members += 1
    try:
        for k in range(iterations):
            step = GradientStep(question.executor, parameter, inputs, loss, price)
            batcher.enter(step)
            while step.gradient is None:  # others still have to ask
                yield question.step(f"{note} {k + 1} of {iterations}", partial)
                batcher.take()
            with torch.no_grad():
                rule.step(step.gradient)
                after(parameter)
            assert step.value is not None  # it comes with the gradient
            losses.append(step.value)
            yield question.step(f"{note} {k + 1} of {iterations}", partial)
    finally:
        batcher.leave(step)
    parameter.requires_grad_(False)
    return torch.stack(losses) if losses else torch.zeros(0, device=question.device)
