"""The network on many masked copies of the input, streamed in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from napari_segxai.core.progress import Steps
from napari_segxai.engine.execution.batch_size import batch_size, remember_batch
from napari_segxai.engine.execution.mixed_precision import MixedPrecision
from napari_segxai.engine.finding import Finding
from napari_segxai.engine.masking.baselines import Hide
from napari_segxai.engine.question import Question
from napari_segxai.models.inference.memory import OutOfMemory, free, is_out_of_memory


def stream(
    question: Question,
    count: int,
    run: Callable[[int, int], Any],
    consume: Callable[[int, Any], bool | None],
    *,
    note: str,
    partial: Callable[[], Finding] | None = None,
    largest: int | None = None,
    open_ended: bool = False,
    grid: Sequence[int] | None = None,
    gradients: bool = False,
) -> Steps[None]:
    """Process `count` samples in batches that fit into memory.

    Parameters
    ----------
    run
        (start, n) -> what the network makes of these samples. Called again with a smaller n when memory runs out.
    consume
        (start, what `run` returned); ends the loop by returning True. What it did for earlier batches is kept when
        memory runs out.
    note, partial
        What steps report.
    largest
        Bound on the batch, for loops that may end early.
    open_ended
        Whether `count` is a bound that is seldom reached, and so not worth telling.
    grid
        Shape of a sample, where it is not the whole grid.
    gradients
        Whether `run` goes backward too.

    Raises
    ------
    OutOfMemory
        If not even one sample fits.
    """
    start, batch = 0, min(largest or count, batch_size(question.executor, grid, gradients=gradients))
    while start < count:
        # As even as can be: one image by itself takes as long as two in a batch.
        left = count - start
        n = math.ceil(left / math.ceil(left / batch))
        try:
            with torch.inference_mode():
                result = run(start, n)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            smaller = batch // 2
            while smaller >= n:
                smaller //= 2
        else:
            with torch.inference_mode():
                stop = consume(start, result)
            start += n
            del result
            yield question.step(f"{note} {start}" if open_ended else f"{note} {start} of {count}", partial)
            if stop:
                return
            continue
        free(question.device)  # outside the except clause, whose traceback holds the tensors
        if smaller < 1:
            raise OutOfMemory(question.device)
        batch = smaller
        remember_batch(question.executor, smaller, grid, gradients=gradients)


def perturb(
    question: Question,
    count: int,
    make_masks: Callable[[int, int], Tensor],
    consume: Callable[[int, Tensor, Tensor], bool | None],
    *,
    hide: Hide,
    note: str,
    partial: Callable[[], Finding] | None = None,
    largest: int | None = None,
    open_ended: bool = False,
    rough: Callable[[Tensor], Tensor] | None = None,
    where: Tensor | None = None,
) -> Steps[None]:
    """Run the network on masked copies of the input.

    Parameters
    ----------
    make_masks
        (start, n) -> masks (n, 1, *grid) in [0, 1] on the question's device.
    consume
        (start, masks, logits (n, labels, *grid)); ends the loop by returning True.
    hide
        Makes inputs of masks; see `Question.hide`.
    note, partial, largest, open_ended
        See `stream`.
    rough
        What is read of the logits, (n, labels, *grid) -> (n,), where that is averaged over many masks, so that fewer
        digits do; see `MixedPrecision`.
    where
        Boolean (*grid): where logits are read, everywhere by default; see `Executor.reading`.

    Raises
    ------
    OutOfMemory
        If not even one copy fits.
    """
    forward = question.look if rough is None else MixedPrecision(question.executor, count, rough).forward

    def run(start: int, n: int) -> tuple[Tensor, Tensor]:
        masks = make_masks(start, n)
        with question.executor.reading(where):
            return masks, forward(hide(masks))

    yield from stream(
        question,
        count,
        run,
        lambda start, result: consume(start, *result),
        note=note,
        partial=partial,
        largest=largest,
        open_ended=open_ended,
    )
