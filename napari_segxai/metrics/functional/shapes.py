"""Connected parts of a mask, and numbers of their size and shape in units of length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Shape:
    """Size and shape of a region.

    Attributes
    ----------
    size
        Its area or volume.
    elongation
        Standard deviation along its longest axis over that along its shortest, 1 or more.
    center
        Its centroid, from 0 to 1 along every axis of the grid.
    """

    size: float
    elongation: float
    center: tuple[float, ...]


def parts_of(mask: np.ndarray, least: int = 1, most: int | None = None) -> list[np.ndarray]:
    """Return the connected parts of a mask, the largest first: boolean (*grid) each.

    Parameters
    ----------
    least
        Cells that a part has at least.
    most
        How many at most.
    """
    numbered, count = ndimage.label(mask)
    sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
    order = [k for k in np.argsort(-sizes, kind="stable") if sizes[k] >= least]
    return [numbered == k + 1 for k in order[:most]]


def shape_of(mask: np.ndarray, lengths: Sequence[float]) -> Shape:
    """Describe a region that is not empty.

    Parameters
    ----------
    mask
        Boolean (*grid).
    lengths
        Of a cell along every axis.
    """
    places = np.argwhere(mask).astype(float)
    center = tuple(float(value) for value in (places.mean(0) + 0.5) / mask.shape)
    scaled = places * np.asarray(lengths)
    # A cell is a box, not a point: it has a spread of its own.
    spread = np.cov(scaled.T, bias=True).reshape(mask.ndim, mask.ndim) + np.diag(np.square(lengths) / 12)
    values = np.linalg.eigvalsh(spread)
    return Shape(len(places) * math.prod(lengths), math.sqrt(values[-1] / values[0]), center)
