"""From a map to a region: threshold, connected components, tight box.

    map -> pixels at or above a threshold -> the largest component, or all -> their box

Aabid and Sicre, section 4.1. The positive part of a map counts, and a pixel of value 0 is never in the region: a
map without positive values gives an empty one. Boxes are inclusive: a box from 3 to 5 is three pixels wide.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from napari_segxai.core.arrays import Box, as_mask, positive, unit
from napari_segxai.core.errors import UserError

Kind = Literal["mean", "maximum", "mass", "fixed"]
Keep = Literal["largest", "all"]

LEVELS = {"mean": 1.0, "maximum": 0.2, "mass": 0.2, "fixed": 0.5}
"""The usual value of each kind of threshold."""


def threshold(map: Any, kind: Kind = "mean", value: float | None = None) -> np.ndarray:
    """Return the pixels at or above a threshold: boolean, of the map's shape.

    Parameters
    ----------
    kind, value
        "mean": at least `value` times the mean (1). "maximum": at least this share of the maximum (0.2).
        "mass": the highest pixels that together hold this share of the sum (0.2), equal values all or none.
        "fixed": at least this value on the map scaled to [0, 1] (0.5). In brackets: the default.

    Raises
    ------
    UserError
        For another kind.
    """
    if kind not in get_args(Kind):
        raise UserError(f"threshold {kind!r} is unknown; choose {', '.join(get_args(Kind))}.")
    level = LEVELS[kind] if value is None else value
    values = positive(map)
    if kind == "fixed":
        values = unit(map)
        cut = level
    elif kind == "maximum":
        cut = level * values.max()
    elif kind == "mean":
        # float sums: the mean of equal values must not come out above them
        cut = min(level * values.mean(), values.max() if level <= 1 else np.inf)
    else:
        ordered = np.sort(values, axis=None)[::-1]
        sums = ordered.cumsum()
        cut = ordered[min(np.searchsorted(sums, level * sums[-1]), len(ordered) - 1)]
    return (values >= cut) & (values > 0)


def components(mask: Any, keep: Keep = "largest") -> np.ndarray:
    """Return the largest connected component (the first of equal ones), or all; pixels touch at corners too."""
    from skimage.measure import label

    inside = as_mask(mask)
    if keep not in get_args(Keep):
        raise UserError(f"components {keep!r} is unknown; choose {' or '.join(get_args(Keep))}.")
    if keep == "all" or not inside.any():
        return inside
    parts = label(inside)
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


def tight_box(mask: Any) -> Box | None:
    """Return the lowest and the highest index of a region, both inside; None for an empty region."""
    inside = as_mask(mask)
    if not inside.any():
        return None
    places = [
        np.flatnonzero(inside.any(tuple(k for k in range(inside.ndim) if k != axis)))
        for axis in range(inside.ndim)
    ]
    return tuple(int(p[0]) for p in places), tuple(int(p[-1]) for p in places)


def box_mask(box: Box | None, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels of a box, both corners included; none for None."""
    out = np.zeros(shape, bool)
    if box is not None:
        out[box_slices(box)] = True
    return out


def box_slices(box: Box) -> tuple[slice, ...]:
    """Return the slices that cut a box out of an array."""
    return tuple(slice(low, high + 1) for low, high in zip(*box, strict=True))


def boxed(mask: Any, keep: Keep = "largest") -> np.ndarray:
    """Return the pixels of the tight box around a region; with "all", of a box around each of its components."""
    from skimage.measure import label

    inside = as_mask(mask)
    if keep == "largest":
        return box_mask(tight_box(inside), inside.shape)
    out, parts = np.zeros(inside.shape, bool), label(inside)
    for number in range(1, parts.max() + 1):
        out |= box_mask(tight_box(parts == number), inside.shape)
    return out


def region(map: Any, kind: Kind = "mean", value: float | None = None, keep: Keep = "largest") -> np.ndarray:
    """Return the region of a map: `threshold`, then `components`."""
    return components(threshold(map, kind, value), keep)
