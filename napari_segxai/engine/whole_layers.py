"""Network layers on the whole grid, of a network that sees it through windows.

A layer has, on the whole grid, the cells that it would have there in one pass; what the windows say of them is brought to these
cells by linear interpolation. Activations are averaged with the weights of the windows; contributions to the score add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from napari_segxai.engine.tiles import View
from napari_segxai.models.preprocessing.resample import resize
from napari_segxai.models.windows.tiling import Tiling


def whole_cells(tiling: Tiling, cells: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many cells a layer that has `cells` in a window would have on the whole grid."""
    sizes = zip(tiling.grid, cells, tiling.rule.size, strict=True)
    return tuple(max(1, round(n * cell / size)) for n, cell, size in sizes)


class WholeLayer:
    """Values of one layer, put together while one window after another is looked at.

    Parameters
    ----------
    tiling
        The windows.
    cells
        Of the layer, in one window.
    channels
        How many values every cell has.
    adds
        Whether values are contributions, which add up where windows overlap; else they are averaged.
    device
        Where they are kept.
    """

    def __init__(
        self,
        tiling: Tiling,
        cells: tuple[int, ...],
        channels: int,
        device: torch.device,
        *,
        adds: bool = False,
    ):
        self.tiling, self.cells, self.adds = tiling, cells, adds
        self.shape = whole_cells(tiling, cells)
        self._sums = torch.zeros((channels, *self.shape), device=device)
        self._weights = torch.zeros(self.shape, device=device)
        importance = tiling.importance.to(device)
        self._importance = resize(importance[None, None], cells, linear=True)[0]

    def add(self, view: View, values: Tensor) -> None:
        """Add what was found at one look: (1, channels, *cells)."""
        upright = values.flip(view.axes)[0].to(self._sums.dtype)
        if self.adds:
            for axis, corner in enumerate(view.corner):
                upright = self._spread(upright, axis, corner)
            self._sums += upright
            return
        upright, place = self._brought(view, upright * self._importance)
        self._sums[(slice(None), *place)] += upright
        self._weights[place] += self._brought(view, self._importance)[0][0]

    def _brought(self, view: View, values: Tensor) -> tuple[Tensor, tuple[slice, ...]]:
        """Return values of a window, (channels, *cells), at the whole cells that lie in it, and where these are."""
        place = []
        for axis, corner in enumerate(view.corner):
            first, low, high, part = self._between(axis, corner)
            values = _mixed(values, 1 + axis, low, high, part)
            place.append(slice(first, first + len(low)))
        return values, tuple(place)

    def values(self) -> Tensor:
        """Return what was put together: (1, channels, *cells of the whole grid); 0 where no window was looked at."""
        if self.adds:
            return self._sums[None]
        return (self._sums / self._weights.where(self._weights > 0, 1))[None]

    def _between(self, axis: int, corner: int) -> tuple[int, Tensor, Tensor, Tensor]:
        """Return the first whole cell whose center lies in a window, and for each of them the cells around it and the share of the upper one."""
        tiling, cells = self.tiling, self.cells[axis]
        whole, size = self.shape[axis], tiling.rule.size[axis]
        centers = (torch.arange(whole, dtype=torch.float64) + 0.5) * tiling.grid[axis] / whole
        inside = centers + tiling.before[axis] - corner
        seen = ((inside >= 0) & (inside < size)).nonzero()[:, 0]
        first = int(seen[0]) if len(seen) else 0
        at = (inside[seen] * cells / size - 0.5).clamp(0, cells - 1)
        low = at.floor().long()
        return first, low, (low + 1).clamp(max=cells - 1), at - low

    def _spread(self, values: Tensor, axis: int, corner: int) -> Tensor:
        """Share every cell of a window out among the two whole cells around its center, along one axis; sums stay."""
        tiling, cells, whole = self.tiling, self.cells[axis], self.shape[axis]
        size = tiling.rule.size[axis]
        centers = (
            (torch.arange(cells, dtype=torch.float64) + 0.5) * size / cells + corner - tiling.before[axis]
        )
        at = (centers * whole / tiling.grid[axis] - 0.5).clamp(0, whole - 1)
        low = at.floor().long()
        part = _along(at - low, values, 1 + axis)
        shape = list(values.shape)
        shape[1 + axis] = whole
        out = values.new_zeros(shape)
        out.index_add_(1 + axis, low.to(values.device), values * (1 - part))
        return out.index_add_(1 + axis, (low + 1).clamp(max=whole - 1).to(values.device), values * part)


class WholeMeans(WholeLayer):
    """The mean of each channel of one layer over the whole grid, of which no map is held.

    Parameters
    ----------
    tiling, cells, channels, device
        As of a `WholeLayer`.
    views
        All looks that will be taken.
    """

    def __init__(
        self,
        tiling: Tiling,
        cells: tuple[int, ...],
        channels: int,
        device: torch.device,
        views: Sequence[View],
    ):
        super().__init__(tiling, cells, 0, device)
        for view in views:
            weights, place = self._brought(view, self._importance)
            self._weights[place] += weights[0]
        self._totals = torch.zeros(channels, dtype=torch.float64, device=device)

    def add(self, view: View, values: Tensor) -> None:
        """Add what was found at one look: (1, channels, *cells)."""
        upright, place = self._brought(view, values.flip(view.axes)[0].float() * self._importance)
        self._totals += (upright / self._weights[place]).flatten(1).sum(1, dtype=torch.float64)

    def values(self) -> Tensor:
        """Return the means: (1, channels)."""
        return (self._totals / math.prod(self.shape)).float()[None]


def _along(part: Tensor, values: Tensor, axis: int) -> Tensor:
    shape = [1] * values.ndim
    shape[axis] = len(part)
    return part.to(values).view(shape)


def _mixed(values: Tensor, axis: int, low: Tensor, high: Tensor, part: Tensor) -> Tensor:
    """Interpolate along one axis."""
    lower = values.index_select(axis, low.to(values.device))
    if not bool(part.any()):
        return lower
    share = _along(part, values, axis)
    return lower * (1 - share) + values.index_select(axis, high.to(values.device)) * share
