"""Crops of a folder's images in which something is strongest, kept while the images pass by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.gallery import Picture, plane_of_grid
from napari_segxai.engine.cases import CaseView
from napari_segxai.models.preprocessing.resample import resize

CELLS, PART = 3, 4
"""A crop has at least so many cells of its network layer along an axis, and this part of the model grid."""


Place = tuple[tuple[int, ...], tuple[int, ...]]
"""A cell of a network layer, and how many there are along every axis."""


class Strongest:
    """The strongest crops by name, each of another case.

    Parameters
    ----------
    most
        How many are kept of a name.
    """

    def __init__(self, most: int):
        self.most = most
        self._kept: dict[str, list[tuple[float, Picture, Place]]] = {}

    def offer(
        self,
        row: str,
        view: CaseView,
        cells: Tensor,
        strength: float | None = None,
        of: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the crop around the highest cell of a case, if it is among the strongest.

        Parameters
        ----------
        row
            The name: what it is of.
        view
            The case.
        cells
            (*cells), which divide the model grid evenly: how strong it is where. Where none is above 0, there is no crop.
        strength
            By what cases are ordered; the highest cell by default.
        of
            Which rows of a table it shows, as of a `Picture`.
        """
        inside = resize(view.inside.float()[None, None], tuple(cells.shape), linear=False)[0, 0] > 0.5
        found = torch.where(inside.to(cells.device), cells, -math.inf)
        best = int(found.argmax())
        highest = float(found.flatten()[best])
        value = highest if strength is None else strength
        kept = self._kept.setdefault(row, [])
        if not (0 < highest < math.inf and math.isfinite(value)):
            return
        if len(kept) == self.most and value <= kept[-1][0]:
            return
        at = tuple(int(k) for k in np.unravel_index(best, cells.shape))
        picture = crop(view, at, tuple(cells.shape), row, f"{value:.3g} {view.id}")
        kept.append((value, replace(picture, of=of or {}), (at, tuple(cells.shape))))
        kept.sort(key=lambda one: -one[0])  # stable: of equals the first
        del kept[self.most :]

    def pictures(self) -> tuple[Picture, ...]:
        """Return the crops, the strongest of each name first."""
        return tuple(picture for kept in self._kept.values() for _, picture, _ in kept)

    def places(self, case: str) -> dict[str, Place]:
        """Return which crops of a case were kept, by their names: around which cell, of how many."""
        return {row: place for row, kept in self._kept.items() for _, own, place in kept if own.case == case}


def crop(
    view: CaseView, at: tuple[int, ...], cells: tuple[int, ...], row: str, text: str, reach: int = CELLS
) -> Picture:
    """Return what the network gets of a case around a cell of a network layer.

    Parameters
    ----------
    at, cells
        The cell, and how many there are along every axis.
    row, text
        As of a `Picture`.
    reach
        Cells that it holds along an axis, at least.
    """
    center, window = _window(view, at, cells, reach)
    whole = plane_of_grid(view.question.input[0].cpu().numpy(), center)
    low, high = np.percentile(whole, (1, 99))
    index = view.placement.image_index([k + 0.5 for k in center])
    return Picture(row, whole[window], text, (float(low), float(high)), view.id, index)


def map_crop(view: CaseView, values: Tensor, place: Place, row: str, text: str) -> Picture:
    """Return what a map (*model grid) has where `crop` cuts: red above 0, blue below, white where it is 0, in a scale of its own."""
    center, window = _window(view, *place, CELLS)
    own = plane_of_grid(values[None].float().cpu().numpy(), center)[window]
    end = float(np.abs(own).max()) or 1.0
    up, down = np.clip(own / end, 0, 1), np.clip(-own / end, 0, 1)
    colors = np.stack([1 - down, 1 - up - down, 1 - up], -1)
    index = view.placement.image_index([k + 0.5 for k in center])
    return Picture(row, colors, text, (0.0, 1.0), view.id, index)


def _window(
    view: CaseView, at: tuple[int, ...], cells: tuple[int, ...], reach: int
) -> tuple[tuple[int, ...], tuple[slice, ...]]:
    """Return the middle of a crop on the model grid, and its window in the plane there."""
    place, grid = view.placement, view.placement.shape
    center = tuple(
        max(min(int((k + 0.5) * n / many), inner.stop - 1), inner.start)
        for k, n, many, inner in zip(at, grid, cells, place.inner, strict=True)
    )
    window = []
    for k, n, many, inner in list(zip(center, grid, cells, place.inner, strict=True))[-2:]:
        side = min(max(math.ceil(n / PART), reach * math.ceil(n / many)), inner.stop - inner.start)
        start = min(max(k - side // 2, inner.start), inner.stop - side)
        window.append(slice(start, start + side))
    return center, tuple(window)
