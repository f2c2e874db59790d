"""How far a change of the input reaches in the output, found by making one block of the input "not a number"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from napari_segxai.engine.execution.footprint import ReceptiveField
from napari_segxai.models.inference.memory import is_out_of_memory

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question


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
