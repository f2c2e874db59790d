"""What enters a metric: numpy arrays or torch tensors of any dimension, made plain at the door."""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_segxai.core.errors import UserError

Box = tuple[tuple[int, ...], tuple[int, ...]]
"""Lowest and highest index, both inside."""

ROUNDING = 2.0**-18
"""Values that were resampled are equal if they differ by less than this share of the largest: floats round."""


def as_array(values: Any) -> np.ndarray:
    """Return a numpy array; a torch tensor is detached and brought to the CPU."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if values.dtype.is_floating_point:
            values = values.double()  # half precision has no twin in numpy, and sums of floats drift
        return values.numpy()
    return np.asarray(values)


def as_mask(values: Any) -> np.ndarray:
    """Return a boolean array: what is not zero is inside."""
    return as_array(values).astype(bool)


def as_map(values: Any) -> np.ndarray:
    """Return a map as float64.

    Raises
    ------
    UserError
        If it is empty or holds values that are not finite.
    """
    array = as_array(values).astype(np.float64)
    if array.size == 0 or not np.isfinite(array).all():
        raise UserError("a map has to hold finite numbers, and at least one.")
    return array


def is_even(map: Any) -> bool:
    """Tell whether a map is the same everywhere, up to rounding: then it ranks no pixels and points nowhere."""
    values = as_map(map)
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def positive(map: Any) -> np.ndarray:
    """Return the positive part: evidence against does not count as energy."""
    return as_map(map).clip(min=0)


def unit(map: Any) -> np.ndarray:
    """Return the positive part, scaled from its own minimum and maximum to [0, 1].

    A map of one positive value, up to rounding, is 1 everywhere (it keeps everything), one without positive values is 0.
    """
    values = positive(map)
    if is_even(values):
        return np.full(values.shape, float(values.max() > 0))
    low, high = values.min(), values.max()
    return (values - low) / (high - low)


def check_same_grid(*arrays: np.ndarray) -> None:
    """Refuse arrays of different shape.

    Raises
    ------
    UserError
        With the shapes.
    """
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) > 1:
        raise UserError(
            f"map and regions have to be on one grid, but the shapes are {', '.join(map(str, shapes))}."
        )
