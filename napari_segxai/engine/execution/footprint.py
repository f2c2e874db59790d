"""What has to be run of a grid to know what a change of a box does to the output, where that reaches no further than so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
