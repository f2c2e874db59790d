"""P5: a mask found by gradient descent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from napari_segxai.engine.memory import OutOfMemory, free, is_out_of_memory
from napari_segxai.engine.passes import Steps
from napari_segxai.engine.question import Finding, Question


def warm_up() -> None:
    """Load what torch loads when the first optimiser is made: a second that is better spent early."""
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


def optimise(
    question: Question,
    parameter: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    iterations: int,
    optimizer: Callable[[list[Tensor]], torch.optim.Optimizer],
    after: Callable[[Tensor], None],
    note: str,
    partial: Callable[[], Finding] | None = None,
) -> Steps[Tensor]:
    """Minimise `loss` of `parameter`, which is changed in place.

    Parameters
    ----------
    loss
        Runs the network once on what `parameter` makes of the input and returns a scalar.
    optimizer
        Made for [parameter].
    after
        Called without gradient after every update, e.g. to clamp.

    Returns
    -------
    Tensor
        (iterations,): the loss before every update. It stays on the device until the end, so that no
        iteration waits for the host.
    """
    descent = optimizer([parameter.requires_grad_(True)])
    losses = torch.zeros(iterations, device=question.device)
    for k in range(iterations):
        try:
            with torch.enable_grad():
                value = loss(parameter)
                (parameter.grad,) = torch.autograd.grad(value, [parameter])
            descent.step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            value = None
            free(question.device)
            raise OutOfMemory(question.device) from None
        with torch.no_grad():
            after(parameter)
            losses[k] = value.detach()
        question.passes.backward += 1
        yield question.step(f"{note} {k + 1} of {iterations}", partial)
    parameter.requires_grad_(False)
    return losses
