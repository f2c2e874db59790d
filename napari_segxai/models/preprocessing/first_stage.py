"""What a network of a cascade gets beside the image: the labels that a first stage predicted, a channel for each, held fixed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.models.preprocessing.intensity import filled
from napari_segxai.models.preprocessing.label_image import LabelResampling

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.preprocessing.spatial import Placement

OUTSIDE = -1
"""What nnU-Net writes into a label image where the image holds nothing, before it is resampled."""


@dataclass(frozen=True, eq=False)
class FirstStage:
    """A first stage, as the second one sees it.

    Attributes
    ----------
    name
        What it is called in sentences.
    values
        The values of its label image that have a channel each.
    read
        An image and a device -> its label image: whole numbers, (*spatial), on the image's grid.
    is_kept
        Whether nothing has to be run to read it, for another copy of an image that was predicted.
    resampling
        How its label image is brought to the grid of the second stage.
    """

    name: str
    values: tuple[int, ...]
    read: Callable[[Image, torch.device], np.ndarray]
    is_kept: Callable[[Image], bool] = lambda image: False
    resampling: LabelResampling = LabelResampling()
    _known: WeakKeyDictionary[Image, np.ndarray] = field(default_factory=WeakKeyDictionary)

    def knows(self, image: Image) -> bool:
        """Tell whether the label image of just this image is known, at no cost."""
        return image in self._known

    def channels(self, image: Image, placement: Placement, device: torch.device) -> Tensor:
        """Return a channel of 0 and 1 for each value, on the model grid: (1, values, *grid), float32.

        The label image is found once per image.

        Raises
        ------
        UserError
            If it is one of another image.
        """
        if image not in self._known:
            self._known[image] = self.read(image, device)
        labels = placement.cropped(placement.turned(self._known[image]))
        seen = placement.cropped(orientation.apply(image.channels_first(), placement.turn))
        inside = filled(torch.from_numpy(np.ascontiguousarray(seen != 0))[None])[0, 0].numpy()
        labels = np.where((labels == 0) & ~inside, OUTSIDE, labels.astype(np.int32))
        after = placement.cell_size(image)
        before = [length / pixels for length, pixels in zip(after, placement.pixels_per_cell, strict=True)]
        labels = self.resampling.resample(labels, placement.resampled_shape, before, after)
        out = torch.zeros((1, len(self.values), *placement.shape), device=device)
        for k, value in enumerate(self.values):
            out[(0, k, *placement.inner)] = torch.from_numpy(labels == value)[placement.kept].to(out)
        return out


def completed(tensor: Tensor, fixed: Tensor | None, name: str) -> Tensor:
    """Return channels of images, (N, channels, *grid), with those of the first stage, (1, more, *grid).

    Raises
    ------
    UserError
        If the first stage predicted nothing on this grid.
    """
    if fixed is None or fixed.shape[2:] != tensor.shape[2:]:
        grid = " x ".join(map(str, tensor.shape[2:]))
        raise UserError(
            f"{name} sees an image beside the prediction of its first stage, and there is none on a grid of {grid}; give it an image as a "
            "whole."
        )
    fixed = fixed.to(tensor)
    return torch.cat([tensor, fixed.expand(len(tensor), *fixed.shape[1:])], 1)


def with_zeros(tensor: Tensor, inputs: int) -> Tensor:
    """Return an input of (N, `inputs`, *grid), with zeros where channels lack: a first stage that found nothing."""
    lacking = inputs - tensor.shape[1]
    if lacking <= 0:
        return tensor
    return torch.cat([tensor, tensor.new_zeros((len(tensor), lacking, *tensor.shape[2:]))], 1)
