"""The gradient of the target with respect to whole inputs, streamed in batches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.progress import Steps
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.primitives.gradient_check import known_to_reach
from napari_segxai.engine.primitives.perturb import stream
from napari_segxai.engine.question import Question
from napari_segxai.engine.tiles import in_window, slopes_of, so_far
from napari_segxai.models.inference.memory import guarded

Around = Callable[[int], AbstractContextManager[Any]]
"""(number of a batch's first input) -> a context in which that batch runs forward and backward."""


def input_gradients(
    question: Question,
    count: int,
    make_inputs: Callable[[int, int], Tensor],
    consume: Callable[[int, Tensor, Tensor], bool | None],
    *,
    note: str,
    partial: Callable[[], Finding] | None = None,
    largest: int | None = None,
    around: Around | None = None,
    score: Callable[[Tensor], Tensor] | None = None,
) -> Steps[None]:
    """Differentiate the target's score at `count` inputs.

    The graph of a batch lives only while the batch runs: modes, hooks and memory are as before at every step.

    Parameters
    ----------
    make_inputs
        (start, n) -> inputs (n, channels, *grid) on the question's device. Called again with a smaller n when memory
        runs out.
    consume
        (start, gradients (n, channels, *grid), scores (n,)); ends the loop by returning True.
    around
        What has to hold while a batch runs, such as another rule for the backward pass.
    score
        Logits (n, labels, *grid) -> (n,): what is differentiated; the target's score by default.
    note, partial, largest
        See `stream`.

    Raises
    ------
    OutOfMemory
        If not even one input fits.
    UserError
        If the network passes no gradient on.
    """
    known_to_reach(question)
    where = slope = None
    if score is None:
        where = question.read_at
        seen = question.section(where)
        _ = seen.weights  # M is that of the original prediction, found before the first gradient
        score = seen.score
        slope = None if question.model.windows is None else question.slope
    forward = question.forward if around is not None else question.forward_again

    def run(start: int, n: int) -> tuple[Tensor, Tensor]:
        own_rule = nullcontext() if around is None else around(start)
        reading = question.executor.reading(where)
        with torch.inference_mode(False), torch.enable_grad(), own_rule, reading:
            leaf = make_inputs(start, n).detach().clone().requires_grad_(True)
            if slope is not None:
                scores = question.executor.linear_score(leaf, slope)
            else:
                scores = score(forward(leaf))
            if not scores.requires_grad:
                raise UserError(
                    f"{question.model.name} passes no gradient from its output to its input (its output is detached, "
                    "rounded or constant); use a method without gradients, such as rise."
                )
            (gradients,) = torch.autograd.grad(scores.sum(), [leaf])
        if slope is None:
            question.passes.backward += n
        return gradients, scores.detach()

    yield from stream(
        question,
        count,
        run,
        lambda start, result: consume(start, *result),
        note=note,
        partial=partial,
        largest=largest,
        gradients=True,
    )


def input_gradient(
    question: Question,
    *,
    around: Around | None = None,
    partial: Callable[[Tensor], Finding] | None = None,
) -> Steps[Tensor]:
    """Differentiate the target's score at the question's own input: (1, channels, *grid).

    The forward pass is also the one that finds M. Cost: 1 forward, 1 backward. Through windows, the prediction is that which is kept, and one
    forward and one backward pass of every window that counts follow.

    Parameters
    ----------
    partial
        Gradient so far, where windows add it up -> what can be shown of it.
    """
    if question.model.windows is not None:
        return (yield from _through_windows(question, around, partial))
    found: list[Tensor] = []

    def score(logits: Tensor) -> Tensor:
        question.remember_logits(logits)
        return question.score(logits)

    yield from input_gradients(
        question,
        1,
        lambda start, n: question.input,
        lambda start, gradients, scores: found.append(gradients),
        note="gradient",
        around=around,
        score=score,
    )
    return found[0]


def _through_windows(
    question: Question, around: Around | None, partial: Callable[[Tensor], Finding] | None
) -> Steps[Tensor]:
    known_to_reach(question)
    slopes, tiles = slopes_of(question)
    tiling = slopes.tiling
    yield question.step("forward pass")
    total = torch.zeros_like(tiling.pad(question.input))

    def first(number: int) -> Callable[[], Finding] | None:
        if partial is None:
            return None
        return lambda: so_far(tiles, number, partial(tiling.unpad(total).clone()))

    for number, view in enumerate(tiles.views, start=1):
        own_rule = nullcontext() if around is None else around(0)
        window = in_window(question, tiling, view)
        with torch.inference_mode(False), torch.enable_grad(), guarded(question.device), own_rule:
            leaf = window.input.detach().clone().requires_grad_(True)
            score = (window.forward(leaf) * slopes.at(view)).sum()
            (gradient,) = torch.autograd.grad(score, [leaf])
        total[(..., *tiling.place(view.corner))] += gradient.flip(view.axes)
        yield question.step(f"window {number} of {len(tiles.views)}", first(number))
    question.executor.note_windows(len(tiles.views), gradients=True)
    return tiling.unpad(total)
