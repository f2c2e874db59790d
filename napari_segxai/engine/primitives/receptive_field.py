"""How far a change of the input reaches in the output, found by making one block of the input "not a number"."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_segxai.models.inference.memory import is_out_of_memory

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question

MAX_WINDOW_SHARE = 0.7
"""Share of the grid above which windows save nothing: the whole grid is run."""


@dataclass(frozen=True)
class ReceptiveField:
    """How far a change reaches, per axis.

    Attributes
    ----------
    stride
        The network treats places alike that are a multiple of this apart.
    before, after
        Cells that a change of a block of `stride` cells reaches before the block and after it.
    """

    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """The part of the grid that has to be run to know what a change of a box does to the output.

    Attributes
    ----------
    window
        What the network has to see.
    changed
        What may change in the output; inside the window, at least as far from its edges as the network looks.
    """

    window: tuple[slice, ...]
    changed: tuple[slice, ...]


def find_receptive_field(question: Question) -> ReceptiveField | None:
    """Find how far a change in the middle of the input reaches: one forward pass.

    One block of the input is made "not a number", which nearly every operation passes on to all that it computes from
    it: an upper bound of what can change, whatever the image. Who uses it has to compare with whole passes once, for
    networks that look at absolute places (resizing with aligned corners, position embeddings) or swallow such values.

    Returns
    -------
    ReceptiveField or None
        None where the change reaches everything, as behind a global pooling or an instance normalisation, or nothing.
    """
    stride = _stride(question)
    spoiled = question.input.clone()
    block = tuple(
        slice(n // s // 2 * s, (n // s // 2 + 1) * s) for n, s in zip(question.grid, stride, strict=True)
    )
    spoiled[(..., *block)] = math.nan
    try:
        with torch.inference_mode():
            reached = question.look(spoiled).isnan().any(1)[0]
    except RuntimeError as error:  # a network that looks for such values itself
        if is_out_of_memory(error):
            raise
        return None
    if not bool(reached.any()):
        return None
    before, after = [], []
    for axis, part in enumerate(block):
        others = [k for k in range(reached.ndim) if k != axis]
        along = reached.amax(others).nonzero()[:, 0]
        before.append(max(0, part.start - int(along[0])))
        after.append(max(0, int(along[-1]) + 1 - part.stop))
    found = ReceptiveField(stride, tuple(before), tuple(after))
    everything = all(
        b >= p.start and a >= n - p.stop
        for b, a, p, n in zip(before, after, block, question.grid, strict=True)
    )
    return None if everything else found


def _stride(question: Question) -> tuple[int, ...]:
    """Return the least common multiple of the strides of all network layers, per axis."""
    model = question.model
    example = model.example_grid
    out = []
    for axis, (cells, size) in enumerate(zip(example, question.grid, strict=True)):
        strides = [round(cells / layer.shape[1 + axis]) for layer in model.example_layers]
        out.append(min(math.lcm(*[s for s in strides if s > 0]), size))
    return tuple(out)


def window_for(
    low: tuple[int, ...], size: tuple[int, ...], grid: tuple[int, ...], field: ReceptiveField
) -> Window | None:
    """Return the window to run when a box changes; None where that is nearly the whole grid.

    Windows of boxes of one size have one size too: at the border of the grid they are moved inwards.
    """
    windows, changes = [], []
    for start, length, n, step, before, after in zip(
        low, size, grid, field.stride, field.before, field.after, strict=True
    ):
        # A box of this length touches at most so many cells of whole blocks.
        whole = (math.ceil((length - 1) / step) + 1) * step
        first = start // step * step
        reach = before + after
        extent = whole + 2 * math.ceil(reach / step) * step
        changes.append(slice(max(0, first - before), min(n, first + whole + after)))
        if extent >= n or n % step:
            windows.append(slice(0, n))
            continue
        origin = min(max(0, first - math.ceil(reach / step) * step), n - extent)
        windows.append(slice(origin, origin + extent))
    share = math.prod(w.stop - w.start for w in windows) / math.prod(grid)
    return Window(tuple(windows), tuple(changes)) if share <= MAX_WINDOW_SHARE else None
