"""How many copies of an input go through the network at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_segxai.models.inference import batches

if TYPE_CHECKING:
    from napari_segxai.engine.execution.executor import Executor


def batch_size(executor: Executor, grid: Sequence[int] | None = None, *, gradients: bool = False) -> int:
    """Return how many copies go through the network at once: a power of two, by the rule of `batches.fitting_batch`.

    Through windows the network itself sees no more than it should in any case; then the copies' own size counts.

    Parameters
    ----------
    grid
        Shape of a copy, where it is not the whole grid.
    gradients
        Whether a backward pass follows.
    """
    network, shape = executor.network, _shape(executor, grid)
    if network.windows is None:
        return batches.fitting_batch(network, executor.device, shape, gradients=gradients)
    numbers = math.prod(shape) * (executor.input.shape[1] + len(network.labels))
    fitting = batches.allowed_bytes(executor.device) / (4 * numbers)
    batch = 2 ** int(math.log2(min(batches.LARGEST[executor.device.type], max(1, fitting))))
    return min(batch, network.fitting_batches.get((executor.device, shape, gradients), batch))


def remember_batch(
    executor: Executor, batch: int, grid: Sequence[int] | None = None, *, gradients: bool = False
) -> None:
    """Remember for this network that no more than `batch` copies fitted into memory; see `batch_size`."""
    batches.remember_batch(
        executor.network, executor.device, _shape(executor, grid), batch, gradients=gradients
    )


def _shape(executor: Executor, grid: Sequence[int] | None) -> tuple[int, ...]:
    return executor.grid if grid is None else tuple(grid)
