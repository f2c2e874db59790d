"""Planes of volumes, as pictures show them."""

from __future__ import annotations

import numpy as np


def cut(array: np.ndarray, position: float, axis: int = 0) -> np.ndarray:
    """Return the slice of a volume at a position from 0 to 1 along a displayed axis; an image as it is."""
    if array.ndim == 2:
        return array
    n = array.shape[axis]
    return array.take(min(max(int(position * n), 0), n - 1), axis)
