"""A map of the model grid, or of a network layer, on the grid of the image; and what is said of few cells and of its sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_segxai.core import orientation
from napari_segxai.models.preprocessing.resample import resize

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.methods.registry import Method
    from napari_segxai.models.preprocessing.spatial import Placement

COARSE = 6
"""Cells per axis below which a network layer's map is mostly interpolation."""


def layer_map(values: torch.Tensor, place: Placement, out: np.ndarray | None = None) -> np.ndarray:
    """Bring a map from the model grid, or from coarser cells that divide it evenly, to the image grid.

    Parameters
    ----------
    values
        (*cells).
    place
        Where the model grid lies.
    out
        float32, on the image grid: what is filled in, of a volume at the slice that the model saw; new by default.
    """
    out = np.zeros(place.image_shape, np.float32) if out is None else out
    if tuple(values.shape) != place.shape:
        values = resize(values.float()[None, None], place.shape, linear=True)[0, 0]
    return place.to_image(place.from_grid(values, linear=True), out)


def native_map(
    values: torch.Tensor, place: Placement, image: Image
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return a map at the resolution of its network layer in the axis order of the image, and its affine.

    Both are None where the map has the resolution of the model grid, or is one of a slice: a volume of slices has no one
    native grid. The affine is None where the image has none.
    """
    if tuple(values.shape) == place.shape or place.slice is not None:
        return None, None
    turned = values.float().cpu().numpy()
    native = np.ascontiguousarray(orientation.apply(turned, orientation.invert(place.turn)))
    affine = None if image.affine is None else place.native_affine(tuple(values.shape), image.affine)
    return native, affine


def coarse_note(values: torch.Tensor, place: Placement) -> list[str]:
    """Say that a network layer has few cells, where it has; else nothing."""
    if tuple(values.shape) == place.shape or min(values.shape) >= COARSE:
        return []
    cells = " x ".join(map(str, values.shape))
    return [f"the network layer has only {cells} cells; a later layer shows more detail."]


def note_against(method: Method, map: np.ndarray) -> list[str]:
    """Say that a map of activation x gradient speaks against its label, where it does: what is below 0 speaks against it."""
    if method.question != "layer" or "gradients" not in method.needs:
        return []
    positive, negative = (map.sum(where=sign, dtype=np.float64) for sign in (map > 0, map < 0))
    said = against(positive, negative)
    return [f"{said}; try another network layer."] if said else []


def against(positive: float, negative: float) -> str:
    """Return a warning if a map speaks against its label, by the sums of its positive and negative values; else ""."""
    return "more of the map speaks against the label than for it" if -negative > positive else ""
