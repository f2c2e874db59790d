"""The pixels that are asked about, on the model grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core.errors import UserError
from napari_segxai.core.target import Box, Component, Point, Target, is_index

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.preprocessing.spatial import Placement


def pixels_of(target: Target, image: Image, placement: Placement, predicted: Tensor) -> Tensor:
    """Return M on the model grid.

    Parameters
    ----------
    predicted
        Boolean (*model grid): where the label is predicted.

    Raises
    ------
    UserError
        If the region does not lie on the image grid.
    """
    found = _region(target, image, placement, predicted)
    if target.boundary is None:
        return found
    return band(found, target.boundary, placement.cell_size(image)) & placement.inside().to(found.device)


def band(region: Tensor, boundary: tuple[float, float], cell_size: Sequence[float]) -> Tensor:
    """Return a band along the border of a region: boolean (*grid), empty for an empty region.

    Parameters
    ----------
    region
        Boolean (*grid).
    boundary
        From which to which distance from the border, negative inside. A cell at the border is half a cell away from it.
    cell_size
        Lengths of a cell along the axes, in the unit of the distances.
    """
    from scipy.ndimage import distance_transform_edt

    inside = region.cpu().numpy()
    if not inside.any():
        return region
    half = min(cell_size) / 2
    outward = distance_transform_edt(~inside, sampling=cell_size) - half
    if inside.all():  # it has no border
        return torch.zeros_like(region)
    inward = distance_transform_edt(inside, sampling=cell_size) - half
    distance = np.where(inside, -inward, outward)
    low, high = boundary
    return torch.from_numpy((distance >= low) & (distance <= high)).to(region.device)


def no_band(target: Target, image: Image) -> str:
    """Say that no pixel lies in the band of a target: the beginning of a sentence."""
    assert target.boundary is not None
    low, high = target.boundary
    return (
        f"no pixel of {image.name} lies {low:g} to {high:g} {image.units} from a border of the region (negative is inside; what fills "
        "the image has no border)"
    )


def _region(target: Target, image: Image, placement: Placement, predicted: Tensor) -> Tensor:
    region = target.region
    if region is None:
        return predicted
    if isinstance(region, str):
        return placement.inside().to(predicted.device)
    if isinstance(region, np.ndarray):
        if region.shape != image.spatial_shape:
            raise UserError(
                f"the region has shape {region.shape}, but {image.name} has {image.spatial_shape}; draw it on the "
                "image's own grid."
            )
        inside = region
    else:
        inside = np.zeros(image.spatial_shape, bool)
        if isinstance(region, Box):
            _check_index(region.low, image)
            _check_index(region.high, image)
            if any(low > high for low, high in zip(region.low, region.high, strict=True)):
                raise UserError(
                    f"the box {region.low} to {region.high} is empty; its lower corner comes first."
                )
            inside[tuple(slice(a, b + 1) for a, b in zip(region.low, region.high, strict=True))] = True
        elif isinstance(region, Point | Component):
            _check_index(region.at, image)
            inside[region.at] = True
    if not inside.any():
        raise UserError(
            "the region is empty; draw something in it, or leave it out for the predicted pixels."
        )
    grid = placement.mask_to_grid(inside).to(predicted.device)
    if isinstance(region, Component):
        return _component(predicted, grid)
    return grid


def _check_index(index: tuple[int, ...], image: Image) -> None:
    shape = image.spatial_shape
    if not is_index(index):
        raise UserError(f"pixel {index!r} is not an index: give one whole number for every spatial axis.")
    if len(index) != len(shape):
        raise UserError(f"pixel {tuple(index)} needs {len(shape)} numbers: {image.name} has shape {shape}.")
    if not all(0 <= i < n for i, n in zip(index, shape, strict=True)):
        raise UserError(f"pixel {tuple(index)} is outside {image.name}, whose shape is {shape}.")


def _component(predicted: Tensor, seed: Tensor) -> Tensor:
    """Return the connected components of `predicted` that touch `seed` (full connectivity)."""
    from skimage.measure import label

    parts = label(predicted.cpu().numpy())
    touched = np.unique(parts[seed.cpu().numpy()])
    return torch.from_numpy(np.isin(parts, touched[touched > 0])).to(predicted.device)
