"""Shares of the positive mass of a map: by the distance to an outline, and by label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_segxai.core.arrays import as_array, as_mask, check_same_grid, positive
from napari_segxai.core.errors import UserError
from napari_segxai.core.prediction import where

ZONES = ("boundary", "interior", "context")


def zones(region: Any, width: float, spacing: Sequence[float] | None = None) -> np.ndarray:
    """Sort pixels into 0 boundary, 1 interior, 2 context; see `ZONES`.

    Parameters
    ----------
    region
        Boolean.
    width
        The boundary holds the pixels, on both sides, whose centre is at most this far from the centre of a pixel of the
        other side; in the units of `spacing`. Where the region ends with the image there is no boundary.
    spacing
        Size of a pixel per axis, e.g. in mm; 1 by default.
    """
    from scipy.ndimage import distance_transform_edt

    inside = as_mask(region)
    if not width > 0:
        raise UserError(f"the width of the boundary is {width:g}; it has to be more than 0.")
    out = np.where(inside, 1, 2)
    if inside.any() and not inside.all():
        for side in (inside, ~inside):
            out[side & (distance_transform_edt(side, sampling=spacing) <= width)] = 0
    return out


def zone_shares(
    map: Any, region: Any, width: float, spacing: Sequence[float] | None = None
) -> dict[str, float] | None:
    """Share of the positive mass of a map at the boundary of a region, in its interior and in its context.

    In [0, 1], together 1. None without positive mass or with an empty region.

    References
    ----------
    Hasany et al. 2026 (MiSuRe), section 5.1, puts it in words.
    """
    values, inside = positive(map), as_mask(region)
    check_same_grid(values, inside)
    total = values.sum()
    if not (total > 0 and inside.any()):
        return None
    sums = np.bincount(zones(inside, width, spacing).ravel(), values.ravel(), minlength=3)
    return dict(zip(ZONES, (sums / total).tolist(), strict=True))


OUTSIDE = (0.5, 0.95)
"""Shares of the mass outside a region within whose distance it is told to lie."""


def mass_outside(
    map: Any, region: Any, spacing: Sequence[float] | None = None
) -> dict[str, float | None] | None:
    """How much of the positive mass of a map lies outside a region, and how far from it.

    Parameters
    ----------
    map
        Signed; what is positive counts.
    region
        Boolean, of the map's shape.
    spacing
        Size of a pixel per axis, e.g. in mm; 1 by default.

    Returns
    -------
    dict or None
        "share" of the mass outside, in [0, 1]; "distance" and "reach": the distances from the region, in the units of `spacing`
        and from centre to centre of a pixel, within which half and 95 % of the mass outside lie; None where none lies outside.
        None as a whole without positive mass or with an empty region.
    """
    from scipy.ndimage import distance_transform_edt

    values, inside = positive(map), as_mask(region)
    check_same_grid(values, inside)
    total = values.sum()
    if not (total > 0 and inside.any()):
        return None
    outside = ~inside & (values > 0)
    weights = values[outside]
    if not len(weights):
        return {"share": 0.0, "distance": None, "reach": None}
    distances = distance_transform_edt(~inside, sampling=spacing)[outside]
    order = np.argsort(distances, kind="stable")
    within = np.cumsum(weights[order])
    middle, far = np.searchsorted(within, np.array(OUTSIDE) * within[-1] * (1 - 1e-12))
    return {
        "share": float(weights.sum() / total),
        "distance": float(distances[order[middle]]),
        "reach": float(distances[order[far]]),
    }


def mass_per_label(
    map: Any, labels: Any, names: Sequence[str] | None = None, *, overlapping: bool = False
) -> dict[str, dict[str, float | None]] | None:
    """Which labels the positive mass of a map lies on: which organ the evidence comes from.

    Parameters
    ----------
    labels
        Whole numbers, of the map's shape: a prediction or a truth. If `overlapping`: boolean (labels but the background,
        *the map's shape).
    names
        Name of every label by its number; without, the labels that occur are called by number.
    overlapping
        Whether a pixel can have several labels, as `SegmentationModel.overlapping` says. Then what lies on several
        counts for each of them, and the background is where none is.

    Returns
    -------
    dict or None
        For every label: "share" of the mass, in [0, 1], together 1 unless labels overlap; and "density", the share of the
        mass divided by the share of pixels (1: as much as if the mass were spread evenly; None for a label without
        pixels). None as a whole without positive mass.

    Raises
    ------
    UserError
        If a label has no name.
    """
    values, numbers = positive(map), as_array(labels)
    check_same_grid(values, numbers[0] if overlapping else numbers)
    total = values.sum()
    if not total > 0:
        return None
    if overlapping:
        masks = (where(numbers.astype(bool), k, overlapping=True) for k in range(len(numbers) + 1))
        sizes = [(float(values[mask].sum() / total), int(mask.sum())) for mask in masks]
        rows = [
            {"share": share, "density": share * values.size / size if size else None} for share, size in sizes
        ]
        return dict(zip(names or [str(k) for k in range(len(rows))], rows, strict=True))
    lowest = int(numbers.min())
    place = numbers.ravel().astype(np.intp) - lowest  # counted, not sorted: volumes are large
    sums, sizes = np.bincount(place, values.ravel()), np.bincount(place)
    given = {
        int(k) + lowest: {
            "share": float(sums[k] / total),
            "density": float(sums[k] / total * numbers.size / sizes[k]),
        }
        for k in np.flatnonzero(sizes)
    }
    if names is None:
        return {str(k): row for k, row in given.items()}
    unnamed = [k for k in given if not 0 <= k < len(names)]
    if unnamed:
        raise UserError(f"label {unnamed[0]} has no name; {len(names)} are given, for 0 to {len(names) - 1}.")
    return {name: given.get(k, {"share": 0.0, "density": None}) for k, name in enumerate(names)}
