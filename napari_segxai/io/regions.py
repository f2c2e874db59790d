"""Where something drawn lies on the grid of an image: mask files, label arrays on other grids, and outlines, as boolean masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.core.arguments import checked
from napari_segxai.core.errors import UserError
from napari_segxai.core.image import Image
from napari_segxai.io import read_image

FLAT = 0.25
"""Vertices that differ by less than this many pixels along an axis lie in one slice."""


def labels_mask(values: Any, way: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return where labels are not 0, on another grid: every pixel takes the nearest label, False outside.

    Parameters
    ----------
    values
        The labels, of any number of axes; only what is needed of a lazy array is read.
    way
        (axes of `values` + 1, axes of the grid + 1): from indices of the grid to indices of `values`.
    shape
        Of the grid.

    Returns
    -------
    ndarray
        Boolean, of `shape`.
    """
    own, n = values.ndim, len(shape)
    linear, offset = way[:own, :n], way[:own, n]
    linear = np.where(np.abs(linear) < 1e-9, 0, linear)
    fixed = [k for k in range(own) if not linear[k].any()]
    out = np.zeros(tuple(shape), bool)
    index: list[Any] = [slice(None)] * own
    for k in fixed:
        index[k] = _nearest(offset[k])
        if not 0 <= index[k] < values.shape[k]:
            return out
    cut = np.asarray(values[tuple(index)])
    left = [k for k in range(own) if k not in fixed]
    if not left:
        return np.full(tuple(shape), bool(cut != 0))
    linear, offset = linear[left], offset[left]
    alone = ((linear != 0).sum(0) <= 1).all() and ((linear != 0).sum(1) == 1).all()
    return _straight(cut, linear, offset, out) if alone else _oblique(cut, linear, offset, out)


def _straight(values: np.ndarray, linear: np.ndarray, offset: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Fill `out` where every axis of `values` follows one axis of the grid."""
    drives = [int(np.flatnonzero(row)[0]) for row in linear]
    where, found = [], []
    for k, axis in enumerate(drives):
        index = _nearest(linear[k, axis] * np.arange(out.shape[axis]) + offset[k])
        inside = np.flatnonzero((index >= 0) & (index < values.shape[k]))
        where.append(inside)
        found.append(index[inside])
    order = np.argsort(drives)
    part = values[np.ix_(*found)].transpose(order) != 0
    rest = [axis for axis in range(out.ndim) if axis not in drives]
    view = np.moveaxis(out, rest, range(len(rest)))
    view[(..., *np.ix_(*[where[k] for k in order]))] = part
    return out


def _oblique(values: np.ndarray, linear: np.ndarray, offset: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Fill `out` pixel by pixel, one slice after the other so that the indices stay small."""
    rest = np.stack(np.meshgrid(*[np.arange(n) for n in out.shape[1:]], indexing="ij"), -1).reshape(
        -1, out.ndim - 1
    )
    there = rest @ linear[:, 1:].T + offset
    size = np.array(values.shape)
    for k in range(out.shape[0]):
        index = _nearest(there + k * linear[:, 0])
        inside = ((index >= 0) & (index < size)).all(1)
        out[k].reshape(-1)[inside] = values[tuple(index[inside].T)] != 0
    return out


def outline_mask(points: np.ndarray, shape: Sequence[int], through: Sequence[int] = ()) -> np.ndarray:
    """Return the pixels of a grid that an outline encloses.

    An outline in any plane of a volume, also a tilted one, fills the pixels that its plane goes through. What lies
    outside the grid is left out.

    Parameters
    ----------
    points
        (vertices, axes) in indices of the grid.
    shape
        Of the grid, of two or three axes.
    through
        Axes along which the outline reaches through the whole grid, because it has no place along them.

    Returns
    -------
    ndarray
        Boolean, of `shape`.
    """
    out = np.zeros(tuple(shape), bool)
    axes = [k for k in range(len(shape)) if k not in through]
    spread = np.ptp(points, axis=0)
    while len(axes) > 2:
        axes.remove(min(axes, key=lambda k: spread[k]))
    if len(axes) < 2:
        return out
    across = [k for k in range(len(shape)) if k not in axes and k not in through]
    flat = _polygon(points[:, axes], [shape[k] for k in axes])
    where = np.argwhere(flat)
    index: list[Any] = [slice(None)] * len(shape)
    keep = np.ones(len(where), bool)
    for axis in across:
        height = np.full(len(where), points[:, axis].mean())
        if spread[axis] > FLAT:
            one = np.column_stack([points[:, axes], np.ones(len(points))])
            fit = np.linalg.lstsq(one, points[:, axis], rcond=None)[0]
            height = where @ fit[:2] + fit[2]
        index[axis] = _nearest(height)
        keep &= (index[axis] >= 0) & (index[axis] < shape[axis])
    for axis in across:
        index[axis] = index[axis][keep]
    for k, axis in enumerate(axes):
        index[axis] = where[keep, k]
    out[tuple(index)] = True
    return out


def ellipse(corners: np.ndarray) -> np.ndarray:
    """Return points on the ellipse that fills the box with these four corners."""
    center = corners.mean(0)
    a, b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)[:, None]
    return center + np.cos(angles) * a + np.sin(angles) * b


def _polygon(points: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the pixels whose centres lie in a polygon; of one that encloses none, the pixel in its middle."""
    from skimage.draw import polygon2mask

    mask = polygon2mask(tuple(shape), points)
    middle = _nearest(points.mean(0))
    if not mask.any() and (middle >= 0).all() and (middle < shape).all():
        mask[tuple(middle)] = True
    return mask


def _nearest(place: Any) -> Any:
    """Return the nearest whole numbers; a half, and what rounding makes of it, goes up."""
    found = np.floor(np.asarray(place, float) + 0.5 + 1e-9).astype(int)
    return found if found.ndim else int(found)


@checked()
def read_region(path: str | Path, image: Image) -> np.ndarray:
    """Read a mask file that lies on the grid of `image`, in whatever storage order: boolean.

    Parameters
    ----------
    path : str or Path
        Any format that `read_image` reads; pixels that are not 0 are inside.
    image : Image
        Whose grid the mask lies on.

    Returns
    -------
    ndarray of bool of shape (*image grid)
        True inside the region.

    Raises
    ------
    UserError
        If the file cannot be read or lies on another grid.
    """
    return np.asarray(_read_on_grid(path, image).any(0))


def _read_on_grid(path: str | Path, image: Image) -> np.ndarray:
    """Read a file on the grid of `image`: (channels, *image grid)."""
    file = read_image(path)
    array = file.frame(0).channels_first()
    affine = file.affine
    if file.codes is not None and image.codes is not None and file.codes != image.codes:
        turn = orientation.reorientation(file.codes, image.codes)
        if affine is not None:
            affine = orientation.apply_to_affine(affine, array.shape[1:], turn)
        array = orientation.apply(array, turn)
    if array.shape[1:] != image.spatial_shape:
        raise UserError(
            f"{path}: the region has shape {array.shape[1:]}, but {image.name} has {image.spatial_shape}; draw it on the "
            "image's own grid."
        )
    if affine is not None and image.affine is not None:
        distance = orientation.corner_distance(affine, image.affine, image.spatial_shape)
        if distance > 0.5 * min(image.spacing):
            raise UserError(
                f"{path}: the region lies {distance:.1f} mm away from {image.name}; resample it to the image's grid."
            )
    return np.ascontiguousarray(array)
