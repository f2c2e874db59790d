"""Gradient steps of several optimisations in one batch: several labels, images or settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.execution.batch_size import batch_size, remember_batch
from napari_segxai.models.inference.memory import OutOfMemory, free, is_out_of_memory

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question

T = TypeVar("T")


@dataclass(eq=False)
class Turn:
    """One gradient step that is wanted.

    Attributes
    ----------
    question
        Whose passes are counted.
    parameter
        What is optimised.
    inputs
        parameter -> the network's input (1, channels, *grid), differentiable.
    loss
        (parameter, logits) -> scalar.
    price
        Returns a further term of the loss, and its gradient; written out, it costs less.
    value, gradient
        The loss and its gradient, once the turn has been taken.
    """

    question: Question
    parameter: Tensor
    inputs: Callable[[Tensor], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    price: Callable[[], tuple[Tensor, Tensor]] | None = None
    value: Tensor | None = None
    gradient: Tensor | None = None


class Joint:
    """Where optimisations of one network meet before every pass; `members` says how many there are."""

    def __init__(self) -> None:
        self.members = 0
        self._turns: list[Turn] = []

    def enter(self, turn: Turn) -> None:
        """Ask for a step; once every member has, all of them are taken."""
        self._turns.append(turn)
        self.take()

    def leave(self, turn: Turn | None) -> None:
        """A member has finished, or was stopped; `turn` is what it may still have asked for."""
        self.members -= 1
        self._turns = [one for one in self._turns if one is not turn]

    def take(self) -> None:
        """Take the turns, if nobody is missing."""
        if len(self._turns) < self.members:
            return
        turns, self._turns = self._turns, []
        # Inputs of one batch have one shape.
        for _, alike in groupby(sorted(turns, key=_grid), key=_grid):
            waiting = list(alike)
            while waiting:
                n = min(len(waiting), batch_size(waiting[0].question, gradients=True))
                if _took(waiting[:n]):
                    del waiting[:n]
                    continue
                free(waiting[0].question.device)
                if n == 1:
                    raise OutOfMemory(waiting[0].question.device)
                remember_batch(waiting[0].question, n // 2, gradients=True)


def side_by_side(works: Sequence[Steps[T]]) -> Steps[list[T]]:
    """Let several pieces of work of one question take a step in turn; return what each has found."""
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


def _grid(turn: Turn) -> tuple[int, ...]:
    return turn.question.grid


def _took(turns: Iterable[Turn]) -> bool:
    """Take some turns in one batch; False when memory ran out."""
    turns = list(turns)
    question = turns[0].question
    try:
        with torch.enable_grad():
            inputs = [turn.inputs(turn.parameter) for turn in turns]
            logits = question.run(inputs[0] if len(inputs) == 1 else torch.cat(inputs))
            parts = logits.split(1) if len(turns) > 1 else [logits]
            values = [turn.loss(turn.parameter, part) for turn, part in zip(turns, parts, strict=True)]
            gradients = torch.autograd.grad(values, [turn.parameter for turn in turns])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    for turn, value, gradient in zip(turns, values, gradients, strict=True):
        turn.value, turn.gradient = value.detach(), gradient
        if turn.price is not None:
            price, slope = turn.price()
            turn.value, turn.gradient = turn.value + price, gradient.add_(slope)
        turn.question.passes.forward += 1
        turn.question.passes.backward += 1
    return True
