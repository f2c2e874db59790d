"""Planes of volumes, as pictures show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def cut(array: np.ndarray, position: float, axis: int = 0) -> np.ndarray:
    """Return the slice of a volume at a position from 0 to 1 along a displayed axis; an image as it is."""
    if array.ndim == 2:
        return array
    n = array.shape[axis]
    return array.take(min(max(int(position * n), 0), n - 1), axis)


def gray(channels: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean of channels, (rows, columns), from 0 to 1: between the 1st and the 99th percentile."""
    values = np.mean(np.stack(channels).astype(np.float32), axis=0)
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [1, 99]) if known.size else (0.0, 1.0)
    return np.nan_to_num(np.clip((values - low) / (high - low if high > low else 1), 0, 1))


def over(ground: np.ndarray, values: np.ndarray, scale: tuple[float, float], colors: Any) -> np.ndarray:
    """Return a map laid over an image as bytes (rows, columns, 3).

    Parameters
    ----------
    ground
        (rows, columns), from 0 to 1.
    values
        (rows, columns), raw; what is not known lets the image through.
    scale
        The ends of the colour scale.
    colors : ndarray of shape (steps, 4)
        Red, green, blue and opacity of equal steps from one end to the other.
    """
    low, high = scale
    share = np.clip((values - low) / (high - low if high > low else 1), 0, 1)
    steps = np.linspace(0, 1, len(colors))
    shown = np.stack([np.interp(np.nan_to_num(share), steps, colors[:, k]) for k in range(4)], -1)
    opaque = shown[..., 3:] * np.isfinite(share)[..., None]
    return np.rint(255 * (opaque * shown[..., :3] + (1 - opaque) * ground[..., None])).astype(np.uint8)
