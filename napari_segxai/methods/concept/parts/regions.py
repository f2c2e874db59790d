"""Regions of a case, some of which show a concept: the examples from which a direction of a network layer is learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from napari_segxai.metrics.functional.layer_maps import shares

TRIES = 20
"""Places at which a region without the concept is looked for."""


@dataclass(frozen=True, eq=False)
class Region:
    """An example.

    Attributes
    ----------
    mask
        Boolean (*model grid), not empty.
    shows
        Whether it shows the concept.
    """

    mask: np.ndarray
    shows: bool


def regions_of(
    concept: Tensor, area: Tensor, random: np.random.Generator, most: int, within: Tensor | None = None
) -> list[Region]:
    """Return regions of a case that show a concept, and regions that do not.

    Parameters
    ----------
    concept, area
        Boolean (*model grid): where the concept is, and where there is image.
    most
        So many of each kind at most, the largest first.
    within
        Its connected parts are the regions; one of which more than half is the concept shows it. By default the connected parts of the concept
        show it, and every one of them is moved to a place by chance where the concept is not.
    """
    allowed = area.cpu().numpy()
    mask = concept.cpu().numpy() & allowed
    if within is not None:
        parts = _largest_parts(within.cpu().numpy() & allowed)
        told = [Region(part, bool(mask[part].mean() > 0.5)) for part in parts]
        return [one for kind in (True, False) for one in [r for r in told if r.shows is kind][:most]]
    found = _largest_parts(mask)[:most]
    moved = [elsewhere(part, allowed & ~mask, random) for part in found]
    shown = [Region(part, True) for part in found]
    return [*shown, *(Region(part, False) for part in moved if part is not None)]


def _largest_parts(mask: np.ndarray) -> list[np.ndarray]:
    """Return the connected parts, the largest first."""
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return [parts == k + 1 for k in np.argsort(-sizes, kind="stable")]


def elsewhere(part: np.ndarray, free: np.ndarray, random: np.random.Generator) -> np.ndarray | None:
    """Return the shape of a region at another place by chance, as far as that is free; all that is free where it finds no place; None without any."""
    if not free.any():
        return None
    corner = [int(axis.min()) for axis in np.nonzero(part)]
    shape = part[
        tuple(slice(low, int(axis.max()) + 1) for low, axis in zip(corner, np.nonzero(part), strict=True))
    ]
    best, size = None, 0
    for _ in range(TRIES):
        at = [int(random.integers(0, n - k + 1)) for n, k in zip(part.shape, shape.shape, strict=True)]
        window = tuple(slice(low, low + k) for low, k in zip(at, shape.shape, strict=True))
        found = shape & free[window]
        if (count := int(found.sum())) > size:
            best, size = (window, found), count
    if best is None or 2 * size < shape.sum():
        return free
    out = np.zeros_like(part)
    out[best[0]] = best[1]
    return out


class CellWeights:
    """How much each cell of network layers belongs to some regions; layers of one resolution have it in common."""

    def __init__(self, masks: Sequence[np.ndarray | Tensor], device: torch.device):
        self.masks = [torch.as_tensor(mask).to(device) for mask in masks]
        self._known: dict[tuple[int, ...], Tensor] = {}

    def on(self, cells: Sequence[int]) -> Tensor:
        """Return the share of every cell that each region covers: (regions, cells)."""
        shape = tuple(cells)
        if shape not in self._known:
            self._known[shape] = torch.stack([shares(mask, shape).flatten() for mask in self.masks])
        return self._known[shape]

    def means(self, activation: Tensor) -> np.ndarray:
        """Return the mean of (1, channels, *cells) over each region: (regions, channels)."""
        weights = self.on(activation.shape[2:])
        means = weights @ activation[0].flatten(1).T / weights.sum(1, keepdim=True)
        return means.cpu().numpy()


def place_of(mask: np.ndarray) -> np.ndarray:
    """Return what place and size of a region alone tell: its center in [-1, 1], the squares of that, and the logarithm of its size."""
    center = np.array(
        [2 * axis.mean() / max(n - 1, 1) - 1 for axis, n in zip(np.nonzero(mask), mask.shape, strict=True)]
    )
    return np.concatenate([center, center**2, [np.log(mask.sum())]])
