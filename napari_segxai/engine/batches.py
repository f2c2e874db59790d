"""How many inputs go through the network at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question

# Bytes of a network's largest feature map in one batch: beyond this, time per image no longer falls, and on the
# CPU it rises (benchmarks/). And bounds on the batch: two images share convolution set-up that one cannot.
BYTES = {"cpu": 13 * 2**20, "mps": 64 * 2**20, "cuda": 256 * 2**20}
SMALLEST = {"cpu": 2, "mps": 1, "cuda": 1}
LARGEST = {"cpu": 8, "mps": 32, "cuda": 64}
LARGE = 2**22
"""Cells beyond which one image at a time is enough."""


def batch_size(question: Question, grid: Sequence[int] | None = None) -> int:
    """Return how many copies go through the network at once: a power of two.

    A fixed rule of the network, the grid and the device, not a timing: a result must not depend on how busy the
    machine was, not even in its last bit. Where that ran out of memory before, what fitted then.
    """
    kind = question.device.type
    shape = question.grid if grid is None else tuple(grid)
    cells = math.prod(shape)
    fitting = BYTES[kind] / (question.model.map_bytes_per_cell * cells)
    smallest = SMALLEST[kind] if cells <= LARGE else 1
    batch = 2 ** int(math.log2(min(LARGEST[kind], max(smallest, fitting))))
    return min(batch, question.model.fitting_batches.get((question.device, shape), batch))


def gradient_batch_size(question: Question) -> int:
    """`batch_size` for passes with a gradient, which keep all feature maps: half of it, unless that is one."""
    batch = batch_size(question)
    return batch // 2 if batch > 2 else batch
