"""Cutting the grid into cells that are hidden or shown as a whole."""

from __future__ import annotations

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

BLOCKS = {2: 400, 3: 4000}
"""Blocks that a superpixel has at least, as a rule, where it is made of blocks: 20 along an axis, in 3D 16. Smaller ones would
only draw its border finer, and take several times as long."""

THIN = 16
"""Blocks along the shortest axis of a grid, at least."""

FEWEST = 4
"""Pieces that a predicted label is cut into at least, however small it is: one would only say that all of it counts."""


def cut(question: Question, shape: Shape, count: int) -> Tensor:
    """Return the cell of every place of the model grid: whole numbers (*grid) from 0, none missing.

    Parameters
    ----------
    count
        About how many cells.
    """
    grid = question.grid
    step = piece_step(grid, count) if shape == "superpixels" else coarse_step(grid)
    if shape == "honeycomb":
        coarse = tuple(-(-n // step) for n in grid)
        cells = enlarged(honeycomb(coarse, count), step, grid)
    else:
        channels = np.stack([block_means(one.float().cpu().numpy(), step) for one in question.input[0]])
        if shape == "superpixels":
            cells = enlarged(superpixels(channels, count), step, grid)
        else:
            cells = pieces_of_labels(channels, label_image(question), count, step)
    return torch.from_numpy(cells).to(question.device)


def coarse_step(grid: Sequence[int]) -> int:
    """Return of how many places per axis cells are made at once: 1, but for large volumes, whose copies in double precision find no room."""
    return math.ceil((math.prod(grid) / LARGE) ** (1 / len(grid)) - 1e-9)


def piece_step(grid: Sequence[int], count: int) -> int:
    """Return of how many places per axis superpixels are made at once, when there are about `count`; see `BLOCKS`."""
    room = math.prod(grid) / count / BLOCKS[len(grid)]
    fine = math.floor(room ** (1 / len(grid)) + 1e-9)
    return max(coarse_step(grid), min(fine, min(grid) // THIN))


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
            image,
            n_segments=pieces,
            compactness=COMPACTNESS,
            channel_axis=-1,
            convert2lab=False,
            start_label=1,
            mask=blocks,
        )
        own = enlarged(found, step, labels.shape)[where]
        values, numbers = np.unique(own, return_inverse=True)
        out[where] = made + numbers.ravel()
        made += len(values)
    return out


def honeycomb(grid: Sequence[int], count: int) -> np.ndarray:
    """Return the nearest point of a lattice for every place: hexagons in 2D, rhombic dodecahedra in 3D."""
    area = float(np.prod(grid)) / count
    # The plane's hexagonal and space's face-centred lattice, by their rectangular cell and the points in it.
    if len(grid) == 2:
        width = np.sqrt(2 * area / np.sqrt(3))
        sides, points = (width * np.sqrt(3), width), [(0.0, 0.0), (0.5, 0.5)]
    else:
        width = (4 * area) ** (1 / 3)
        sides, points = (width,) * 3, [(0.0, 0.0, 0.0), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    # Each point of the cell makes a lattice of its own along the axes, whose nearest point is found axis by axis.
    columns = [int(np.ceil(n / side)) + 2 for n, side in zip(grid, sides, strict=True)]
    nearest, least = np.zeros(grid, np.int64), np.full(grid, np.inf)
    for number, point in enumerate(points):
        found, apart = np.int64(number), np.float64(0)
        for axis, (n, side, shift, many) in enumerate(zip(grid, sides, point, columns, strict=True)):
            at = (np.arange(n) + 0.5) / side - shift - 0.25
            along = [n if k == axis else 1 for k in range(len(grid))]
            found = found * many + (np.rint(at) + 1).astype(np.int64).reshape(along)
            apart = apart + np.square((at - np.rint(at)) * side).reshape(along)
        # Along the diagonals of space places are equally near to two points: one rule for all, whatever rounding says.
        closer = apart <= least + 1e-9 * area ** (2 / len(grid))
        np.copyto(nearest, found, where=closer)
        np.copyto(least, apart, where=closer)
    # Of cells that the border leaves little of, the neighbours take what is left.
    large = np.bincount(nearest.ravel(), minlength=len(points) * math.prod(columns)) >= SLIVER * area
    if large.any():
        left = ~large[nearest]
        nearest[left] = _nearest_of(np.flatnonzero(large), np.argwhere(left) + 0.5, columns, sides, points)
    return numbered(nearest)


def _nearest_of(
    names: np.ndarray,
    places: np.ndarray,
    columns: Sequence[int],
    sides: Sequence[float],
    points: Sequence[Sequence[float]],
) -> np.ndarray:
    """Return which of some points of a lattice is nearest to each place: (places, axes) -> (places,)."""
    from scipy.spatial import KDTree

    which, *steps = np.unravel_index(names, (len(points), *columns))
    at = (np.stack(steps, 1) - 1 + np.array(points)[which] + 0.25) * sides
    return names[KDTree(at).query(places)[1]]


def numbered(cells: np.ndarray) -> np.ndarray:
    """Number whole numbers from 0 those that are there, from 0 and in their order: of any shape."""
    there = np.bincount(cells.ravel()) > 0
    return (np.cumsum(there) - 1)[cells]


def superpixels(channels: np.ndarray, count: int, compactness: float = COMPACTNESS) -> np.ndarray:
    """Cut (channels, *grid) into about `count` pieces of even intensity (SLIC; supervoxels in 3D)."""
    from skimage.segmentation import slic

    cells = slic(
        _scaled(channels),
        n_segments=count,
        compactness=compactness,
        channel_axis=-1,
        convert2lab=False,  # three channels need not be red, green and blue
        start_label=0,
    )
    return numbered(cells)


def _scaled(channels: np.ndarray) -> np.ndarray:
    """Scale (channels, *grid) to [0, 1], the channels last."""
    low, high = channels.min(), channels.max()
    return np.moveaxis((channels - low) / (high - low if high > low else 1), 0, -1).astype(float)


def cell_masks(members: np.ndarray, cells: Tensor) -> Tensor:
    """Return masks that show some cells: (n, cells), boolean or in [0, 1], and whole numbers (*grid) -> (n, 1, *grid)."""
    kept = torch.from_numpy(members).to(cells.device, torch.float32)
    shown = kept.index_select(1, cells.flatten())  # a quarter of the time of kept[:, cells]
    return shown.view(len(members), 1, *cells.shape)
