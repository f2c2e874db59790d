"""Cutting the grid into cells that are hidden or shown as a whole."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question

Shape = Literal["honeycomb", "superpixels"]

HELP = (
    "honeycomb: hexagons, in 3D cells of a face-centred lattice; superpixels: pieces of even intensity (SLIC)"
)

SLIVER = 0.4
"""Share of a whole cell below which a cell at the border is none."""

COMPACTNESS = 0.1
"""Of superpixels of an image scaled to [0, 1]."""


def cut(question: Question, shape: Shape, count: int) -> Tensor:
    """Return the cell of every place of the model grid: whole numbers (*grid) from 0, none missing.

    Parameters
    ----------
    count
        About how many cells.
    """
    channels = question.input[0].float().cpu().numpy()
    cells = superpixels(channels, count) if shape == "superpixels" else honeycomb(question.grid, count)
    return torch.from_numpy(cells).to(question.device)


def honeycomb(grid: Sequence[int], count: int) -> np.ndarray:
    """Return the nearest point of a lattice for every place: hexagons in 2D, rhombic dodecahedra in 3D."""
    from scipy.spatial import KDTree

    area = float(np.prod(grid)) / count
    # The plane's hexagonal and space's face-centred lattice, by their rectangular cell and the points in it.
    if len(grid) == 2:
        width = np.sqrt(2 * area / np.sqrt(3))
        sides, points = (width * np.sqrt(3), width), [(0.0, 0.0), (0.5, 0.5)]
    else:
        width = (4 * area) ** (1 / 3)
        sides, points = (width,) * 3, [(0.0, 0.0, 0.0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    axes = [np.arange(-1, np.ceil(n / side) + 1) for n, side in zip(grid, sides, strict=True)]
    corners = np.array(list(itertools.product(*axes)))
    lattice = np.concatenate([(corners + point + 0.25) * sides for point in np.array(points)])
    places = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in grid], indexing="ij"), -1)
    _, nearest = KDTree(lattice).query(places.reshape(-1, len(grid)))
    # Of cells that the border leaves little of, the neighbours take what is left.
    large = np.bincount(nearest, minlength=len(lattice)) >= SLIVER * area
    if large.any():
        _, nearest = KDTree(lattice[large]).query(places.reshape(-1, len(grid)))
    return np.unique(nearest, return_inverse=True)[1].reshape(grid)


def superpixels(channels: np.ndarray, count: int) -> np.ndarray:
    """Cut (channels, *grid) into about `count` pieces of even intensity (SLIC; supervoxels in 3D)."""
    from skimage.segmentation import slic

    low, high = channels.min(), channels.max()
    image = np.moveaxis((channels - low) / (high - low if high > low else 1), 0, -1).astype(float)
    cells = slic(image, n_segments=count, compactness=COMPACTNESS, channel_axis=-1, start_label=0)
    return np.unique(cells, return_inverse=True)[1].reshape(cells.shape)


def cell_masks(members: np.ndarray, cells: Tensor) -> Tensor:
    """Return masks that show some cells: (n, cells), boolean or in [0, 1], and whole numbers (*grid) -> (n, 1, *grid)."""
    kept = torch.from_numpy(members).to(cells.device, torch.float32)
    return kept[:, cells.flatten()].view(len(members), 1, *cells.shape)
