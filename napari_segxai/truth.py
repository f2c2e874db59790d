"""What is really there: labels by a person, brought to the grid of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.errors import UserError
from napari_segxai.image import Image

if TYPE_CHECKING:
    from napari_segxai.model.segmentation import SegmentationModel

Truth = np.ndarray | Image

SMALLEST = 0.5
"""Share of the truth's labelled volume that has to lie in the image."""


def truth_labels(truth: Truth, image: Image, model: SegmentationModel) -> np.ndarray:
    """Return the true labels on the grid of the image: whole numbers, positions in the model's labels.

    Parameters
    ----------
    truth
        An array on the image's grid, or an `Image` that knows where it lies: that is resampled to the nearest label.

    Raises
    ------
    UserError
        If it holds other labels than the model, or lies elsewhere.
    """
    if isinstance(truth, Image):
        values = _resampled(truth, image)
    else:
        values = np.asarray(truth)
        if values.shape != image.spatial_shape:
            raise UserError(
                f"the truth has shape {values.shape}, but {image.name} has {image.spatial_shape}; give it on the image's "
                "grid, or as an Image that knows where it lies."
            )
    if values.dtype.kind not in "bui" and not np.array_equal(values, np.rint(values)):
        raise UserError("the truth holds values that are no label values; give whole numbers from 0.")
    if values.size and values.min() < 0:
        raise UserError("the truth holds negative values; label values begin at 0.")
    if values.size and values.max() >= len(model.labels):
        known = ", ".join(f"{k} {name}" for k, name in enumerate(model.labels))
        raise UserError(
            f"the truth holds label {int(values.max())}, but the labels of {model.name} are {known}; renumber the truth."
        )
    return values.astype(np.uint16)


def _resampled(truth: Image, image: Image) -> np.ndarray:
    """Return the values of `truth` on the grid of `image`, each place taking the nearest."""
    array = truth.frame(0).channels_first()[0]
    if truth.affine is None or image.affine is None or array.ndim != 3:
        if array.shape != image.spatial_shape:
            raise UserError(
                f"the truth {truth.name} has shape {array.shape}, but {image.name} has {image.spatial_shape}, and not "
                "both know where they lie; give the truth on the image's grid."
            )
        return array
    if array.shape == image.spatial_shape and np.allclose(truth.affine, image.affine, atol=1e-3):
        return array
    from scipy.ndimage import affine_transform

    way = np.linalg.inv(truth.affine) @ image.affine
    out = affine_transform(
        array.astype(np.float32), way[:3, :3], way[:3, 3], image.spatial_shape, order=0, mode="constant"
    )
    before = float((array > 0).sum() * abs(np.linalg.det(truth.affine[:3, :3])))
    after = float((out > 0).sum() * abs(np.linalg.det(image.affine[:3, :3])))
    if before > 0 and after < SMALLEST * before:
        raise UserError(
            f"{after / before:.0%} of the truth {truth.name} lies in {image.name}: they do not show the same place."
        )
    return out
