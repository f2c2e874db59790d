"""What is given as an image, as an image that suits a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.core.image import Image

if TYPE_CHECKING:
    from napari_segxai.models.segmentation import SegmentationModel


def as_image(image: Image | np.ndarray, model: SegmentationModel, axis: int | None = None) -> Image:
    """Return what is given as an image that suits a model.

    A NIfTI file whose fourth axis is as long as the model has channels has them there. `axis`: see `Image.across`.

    Raises
    ------
    UserError
        If it is not an image, or `axis` is none of its axes.
    """
    return model.with_its_channels(Image.of(image)).across(axis)
