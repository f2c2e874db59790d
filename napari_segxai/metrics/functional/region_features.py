"""Features of a region that a radiologist has words for: how bright it is, how rough, and what shape an object has."""

from __future__ import annotations

import math

import numpy as np

BINS = 32
"""Of the histogram of the entropy."""

STEPS = 0.8
"""Standard deviation of the blur that takes the steps of pixels off a contour, in pixels."""

INTENSITY = ("mean", "deviation", "gradient", "entropy", "contrast")
SHAPE = ("size", "sphericity")


def intensity_features(values: np.ndarray, region: np.ndarray, span: float) -> dict[str, float]:
    """Measure the intensities of a region. All but the mean stay as they are when a number is added to all of it.

    Parameters
    ----------
    values : ndarray of shape (*grid)
        Intensities.
    region : ndarray of bool of shape (*grid)
        What is measured; it holds a pixel at least.
    span : float
        Range of intensities that the bins of the entropy divide, > 0.

    Returns
    -------
    dict
        `mean` and `deviation`; `gradient`: mean length of the difference of neighbours, along all axes; `entropy` of the
        histogram around the mean, in bits, in [0, 5]; `contrast`: mean squared difference of neighbours, as the contrast of a
        co-occurrence matrix without quantization. NaN where no two neighbours lie in the region.
    """
    inside = values[region].astype(np.float64)
    mean = inside.mean()
    squares = np.zeros(values.shape)
    counted = region.copy()
    pairs: list[np.ndarray] = []
    for axis in range(values.ndim):
        if values.shape[axis] < 2:
            continue
        step = np.diff(values.astype(np.float64), axis=axis)
        both = _first(region, axis) & _last(region, axis)
        pairs.append(step[both] ** 2)
        squares[_slices(axis, values.ndim, slice(None, -1))] += step**2
        counted[_slices(axis, values.ndim, slice(None, -1))] &= both
        counted[_slices(axis, values.ndim, slice(-1, None))] = False
    differences = np.concatenate(pairs) if pairs else np.zeros(0)
    places = np.clip(np.rint((inside - mean) / span * BINS), -BINS, BINS)
    shares = np.unique(places, return_counts=True)[1] / len(inside)
    return {
        "mean": float(mean),
        "deviation": float(inside.std()),
        "gradient": float(np.sqrt(squares[counted]).mean()) if counted.any() else math.nan,
        "entropy": float(-(shares * np.log2(shares)).sum()) + 0.0,
        "contrast": float(differences.mean()) if len(differences) else math.nan,
    }


def _slices(axis: int, ndim: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if k == axis else slice(None) for k in range(ndim))


def _first(array: np.ndarray, axis: int) -> np.ndarray:
    return array[_slices(axis, array.ndim, slice(None, -1))]


def _last(array: np.ndarray, axis: int) -> np.ndarray:
    return array[_slices(axis, array.ndim, slice(1, None))]


def sphericity(mask: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Return how much a mask is like a disk or a ball: 1 for one, less for anything else.

    Parameters
    ----------
    mask : ndarray of bool of shape (*grid)
        Two or three axes.
    spacing : tuple of float
        Size of a cell.

    Returns
    -------
    float
        In 2D 4 pi A / P^2, in 3D pi^(1/3) (6 V)^(2/3) / A, of the contour half-way between inside and outside, without the steps of pixels; NaN without a pixel.
    """
    from scipy import ndimage
    from skimage import measure

    if not mask.any():
        return math.nan
    padded = np.pad(mask, 3).astype(np.float32)
    smooth = ndimage.gaussian_filter(padded, STEPS)  # or the steps of pixels would make the contour longer
    padded = smooth if smooth.max() > 0.6 else padded
    if mask.ndim == 2:
        lines = [line * spacing for line in measure.find_contours(padded, 0.5)]
        length = sum(float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) for line in lines)
        around = [line[:-1, 0] @ line[1:, 1] - line[1:, 0] @ line[:-1, 1] for line in lines]
        return 4 * math.pi * abs(float(sum(around))) / 2 / length**2  # a hole runs the other way round
    points, faces, _, _ = measure.marching_cubes(padded, 0.5, spacing=spacing)
    corners = (points - points.mean(0))[faces].astype(np.float64)
    volume = abs(float(np.linalg.det(corners).sum())) / 6
    return math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / measure.mesh_surface_area(points, faces)
