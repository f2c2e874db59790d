"""Cutting the grid into cells that are hidden or shown as a whole."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from napari_segxai.models.inference.memory import LARGE

if TYPE_CHECKING:
    from napari_segxai.engine.question import Question

Shape = Literal["honeycomb", "superpixels", "labels"]

HELP = (
    "honeycomb: hexagons, in 3D cells of a face-centred lattice; superpixels: pieces of even intensity (SLIC); labels: such pieces of "
    "each predicted label by itself, so that none reaches across the border of an object"
)

SLIVER = 0.4
"""Share of a whole cell below which a cell at the border is none."""

COMPACTNESS = 0.1
"""Of superpixels of an image scaled to [0, 1]."""

FEWEST = 4
"""Pieces that a predicted label is cut into at least, however small it is: one would only say that all of it counts."""


def cut(question: Question, shape: Shape, count: int) -> Tensor:
    """Return the cell of every place of the model grid: whole numbers (*grid) from 0, none missing.

    Parameters
    ----------
    count
        About how many cells.
    """
    step = coarse_step(question.grid)
    if shape == "honeycomb":
        coarse = tuple(-(-n // step) for n in question.grid)
        cells = enlarged(honeycomb(coarse, count), step, question.grid)
    else:
        channels = np.stack([block_means(one.float().cpu().numpy(), step) for one in question.input[0]])
        if shape == "superpixels":
            cells = enlarged(superpixels(channels, count), step, question.grid)
        else:
            cells = pieces_of_labels(channels, label_image(question), count, step)
    return torch.from_numpy(cells).to(question.device)


def coarse_step(grid: Sequence[int]) -> int:
    """Return of how many places per axis cells are made at once: 1, but for large volumes, whose copies in double precision find no room."""
    return math.ceil((math.prod(grid) / LARGE) ** (1 / len(grid)) - 1e-9)


def block_means(array: np.ndarray, step: int) -> np.ndarray:
    """Return the means of blocks of `step` places per axis: float32."""
    for axis, n in enumerate(array.shape if step > 1 else ()):
        lows = np.arange(0, n, step)
        counts = np.minimum(lows + step, n) - lows
        counts = counts.reshape([-1 if k == axis else 1 for k in range(array.ndim)])
        array = np.add.reduceat(array, lows, axis) / counts.astype(np.float32)
    return array


def enlarged(cells: np.ndarray, step: int, grid: Sequence[int]) -> np.ndarray:
    """Bring the cells of blocks to all of their places, and number those that are there from 0."""
    if step == 1:
        return cells
    cells = cells.astype(np.int32)
    for axis, n in enumerate(grid):
        cells = cells.repeat(step, axis)[
            tuple(slice(n) if k == axis else slice(None) for k in range(cells.ndim))
        ]
    return np.ascontiguousarray(cells)


def label_image(question: Question) -> np.ndarray:
    """Return one number per place for every combination of labels that are predicted there: (*grid), from 0."""
    labeling, logits = question.model.labeling, question.logits
    out = np.zeros(question.grid, np.uint16)
    for label in range(1, logits.shape[1]):
        drawn = labeling.drawn(logits, label)[0].cpu().numpy()
        if not labeling.overlapping:
            out[drawn] = label
        elif drawn.any():  # what was one combination is two where the label is part of it
            out[drawn] += 1 + out.max()
            out = np.unique(out, return_inverse=True)[1].reshape(out.shape).astype(np.uint16)
    return out


def pieces_of_labels(channels: np.ndarray, labels: np.ndarray, count: int, step: int = 1) -> np.ndarray:
    """Cut each label by itself into pieces of even intensity (SLIC): whole numbers (*grid) from 0.

    Parameters
    ----------
    channels
        (channels, *blocks).
    labels
        Whole numbers, (*grid).
    count
        About how many pieces; every label gets them by its size, and at least `FEWEST` where it has as many places.
    step
        Places of a block, per axis.
    """
    from skimage.segmentation import slic

    image = _scaled(channels)
    out, made = np.zeros(labels.shape, np.int32), 0
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        where = labels == label
        blocks = where
        for axis, n in enumerate(where.shape if step > 1 else ()):
            blocks = np.logical_or.reduceat(blocks, np.arange(0, n, step), axis)
        pieces = min(max(FEWEST, round(count * size / labels.size)), int(blocks.sum()))
        found = slic(
            image, n_segments=pieces, compactness=COMPACTNESS, channel_axis=-1, start_label=1, mask=blocks
        )
        own = enlarged(found, step, labels.shape)[where]
        values, numbers = np.unique(own, return_inverse=True)
        out[where] = made + numbers.ravel()
        made += len(values)
    return out


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

    cells = slic(_scaled(channels), n_segments=count, compactness=COMPACTNESS, channel_axis=-1, start_label=0)
    return np.unique(cells, return_inverse=True)[1].reshape(cells.shape)


def _scaled(channels: np.ndarray) -> np.ndarray:
    """Scale (channels, *grid) to [0, 1], the channels last."""
    low, high = channels.min(), channels.max()
    return np.moveaxis((channels - low) / (high - low if high > low else 1), 0, -1).astype(float)


def cell_masks(members: np.ndarray, cells: Tensor) -> Tensor:
    """Return masks that show some cells: (n, cells), boolean or in [0, 1], and whole numbers (*grid) -> (n, 1, *grid)."""
    kept = torch.from_numpy(members).to(cells.device, torch.float32)
    return kept[:, cells.flatten()].view(len(members), 1, *cells.shape)
