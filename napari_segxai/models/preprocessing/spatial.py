"""Where the model grid lies on the image grid: turn, take a slice, resample, pad; and all the way back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError, number
from napari_segxai.models.preprocessing.resample import resize

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard


LARGEST = 2**31
"""Numbers of an input: 8 GB."""


@dataclass(frozen=True)
class Placement:
    """The way from the image grid to the model grid, and back.

    Attributes
    ----------
    image_shape
        Shape of the image grid.
    turn
        Reorientation of the image axes to those that the network expects.
    slice
        Index along the first turned axis that a 2D model gets of a volume; None for the whole.
    resampled_shape
        Shape after resampling, before padding.
    shape
        Shape of the model grid.
    linear
        Whether intensities are resampled linearly, else to the nearest.
    """

    image_shape: tuple[int, ...]
    turn: orientation.Reorientation
    slice: int | None
    resampled_shape: tuple[int, ...]
    shape: tuple[int, ...]
    linear: bool

    @property
    def turned_shape(self) -> tuple[int, ...]:
        """Shape of the turned image (or of its slice), before resampling."""
        shape = tuple(self.image_shape[k] for k in self.turn[0])
        return shape if self.slice is None else shape[1:]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """Turn an array on the image grid (leading axes stay) and take the slice; a view."""
        out = orientation.apply(array, self.turn)
        if self.slice is not None:
            out = out[..., self.slice, :, :]
        return out

    def to_grid(self, turned: np.ndarray) -> Tensor:
        """Bring turned intensities (channels, *) to the model grid without padding: (1, channels, *)."""
        tensor = torch.from_numpy(turned)[None]
        return resize(tensor, self.resampled_shape, linear=self.linear, antialias=True)

    def pad(self, tensor: Tensor, value: Tensor) -> Tensor:
        """Pad (1, channels, *resampled) at the end of every axis to the model grid with a value per channel."""
        if self.shape == self.resampled_shape:
            return tensor
        out = value.expand(*tensor.shape[:2], *self.shape).clone()
        out[(slice(None), slice(None), *(slice(n) for n in self.resampled_shape))] = tensor
        return out

    def inside(self) -> Tensor:
        """Return where the image lies on the model grid: boolean, False in the padding."""
        out = torch.zeros(self.shape, dtype=torch.bool)
        out[tuple(slice(n) for n in self.resampled_shape)] = True
        return out

    def mask_to_grid(self, mask: np.ndarray) -> Tensor:
        """Bring a boolean mask on the image grid to the model grid.

        Nearest neighbour, but a mask too thin to survive that keeps the cells that its pixels' centres
        fall into.
        """
        turned = np.ascontiguousarray(self.turned(mask))
        tensor = torch.from_numpy(turned)[None, None]
        out = resize(tensor.float(), self.resampled_shape, linear=False) > 0.5
        if not out.any() and turned.any():
            centers = 2 * np.argwhere(turned) + 1  # in half pixels
            cells = centers * np.array(self.resampled_shape) // (2 * np.array(turned.shape))
            out[(0, 0, *torch.from_numpy(cells).T)] = True
        return self.pad(out, torch.zeros((1, 1) + (1,) * len(self.shape), dtype=torch.bool))[0, 0]

    def from_grid(self, values: Tensor, *, linear: bool) -> np.ndarray:
        """Bring a map (*model grid) back to the turned image grid (or slice), as float32."""
        inner = values[tuple(slice(n) for n in self.resampled_shape)].float()
        return resize(inner[None, None], self.turned_shape, linear=linear)[0, 0].cpu().numpy()

    def to_image(self, turned: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Turn an array on the turned grid back to the image grid; a slice is written into `out`."""
        if out is None:
            if self.slice is None:
                back = orientation.apply(turned, orientation.invert(self.turn))
                return np.ascontiguousarray(back)
            out = np.zeros(self.image_shape, turned.dtype)
        view = self.turned(out)
        view[...] = turned
        return out

    def native_affine(self, native_shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
        """Return the affine of a native-resolution volume in the axis order of the image.

        Its cells divide the model grid (padding included) evenly.
        """
        turned = orientation.apply_to_affine(affine, self.image_shape, self.turn)
        scale = np.array(self.shape) / np.array(native_shape)
        scale = scale * np.array(self.turned_shape) / np.array(self.resampled_shape)
        step = np.diag([*scale, 1.0])
        step[:3, 3] = 0.5 * scale - 0.5
        return orientation.apply_to_affine(turned @ step, native_shape, orientation.invert(self.turn))


def slice_count(card: ModelCard, image: Image) -> int | None:
    """Number of slices that a 2D model sees in a volume; None when the model takes the image whole."""
    if (card.spatial_dims, image.spatial_dims) != (2, 3):  # what does not fit at all is refused by `place`
        return None
    return image.spatial_shape[_turn(card, image)[0][0]]


def place(
    card: ModelCard, image: Image, slice: int | None = None, multiples: Sequence[int] | None = None
) -> Placement:
    """Work out how `image` is brought to the grid of the model that `card` describes.

    Parameters
    ----------
    slice
        For a 2D model on a volume: which slice, counted as napari displays the volume (inferior slices
        of a displayed axial stack have the higher index).
    multiples
        Of what the size has to be a multiple, per axis; what the card says by default.

    Raises
    ------
    UserError
        If the model cannot take an image of this kind.
    """
    if card.spatial_dims > image.spatial_dims:
        raise UserError(
            f"{card.name} takes 3D volumes, but {image.name} is a 2D image; choose a 2D model or load a volume."
        )
    turn = _turn(card, image)
    shape = tuple(image.spatial_shape[k] for k in turn[0])
    axes = turn[0]
    if card.spatial_dims < image.spatial_dims:
        if slice is None:
            raise UserError(f"{card.name} is a 2D model and {image.name} a volume: name the slice.")
        if not 0 <= slice < shape[0]:
            raise UserError(f"slice {slice} is outside {image.name}; it has slices 0 to {shape[0] - 1}.")
        # The index counts in display direction; the network may want the axis the other way round.
        display_flip = image.to_display[1][image.to_display[0].index(turn[0][0])]
        if turn[1][0] != display_flip:
            slice = shape[0] - 1 - slice
        shape, axes = shape[1:], axes[1:]
    else:
        slice = None
    grid = card.grid
    if grid.size is not None:
        resampled = grid.size
    elif grid.spacing is not None:
        millimetres = image.spacing_mm
        if millimetres is None:
            raise UserError(
                f"{card.name} needs {image.name} at a spacing of {grid.spacing} mm, but the image does not say "
                "its pixel size in mm; give it an affine, or spacing with units='mm'."
            )
        resampled = tuple(
            max(1, round(n * s / wanted))
            for n, s, wanted in zip(shape, [millimetres[k] for k in axes], grid.spacing, strict=True)
        )
    else:
        resampled = shape
    multiples = multiples or (grid.multiple,) * len(resampled)
    padded = tuple(-(-n // m) * m for n, m in zip(resampled, multiples, strict=True))
    numbers_asked = math.prod(padded) * len(card.channels)
    if numbers_asked > LARGEST:
        raise UserError(
            f"{card.name} would need {image.name} on a grid of {' x '.join(map(number, padded))}, which is too large for "
            f"any machine ({number(numbers_asked)} numbers, at most {LARGEST} are taken); see grid in its card."
        )
    return Placement(
        image_shape=image.spatial_shape,
        turn=turn,
        slice=slice,
        resampled_shape=resampled,
        shape=padded,
        linear=grid.interpolation == "linear",
    )


def plane_of_card(card: ModelCard, image: Image) -> int | None:
    """Return the axis across which a 2D model's slices lie, counted as napari shows the volume.

    None where the card does not say it, or the volume does not know its orientation.
    """
    if image.codes is None or card.orientation is None or card.spatial_dims == image.spatial_dims:
        return None
    return image.to_display[0].index(orientation.reorientation(image.codes, card.orientation)[0][0])


def plane_of(card: ModelCard, image: Image) -> int | None:
    """Return the axis across which a 2D model's slices of a volume lie, as `Image.across` counts; None without."""
    if card.spatial_dims >= image.spatial_dims:
        return None
    return image.to_display[0].index(_turn(card, image)[0][0])


def _turn(card: ModelCard, image: Image) -> orientation.Reorientation:
    flat = card.spatial_dims < image.spatial_dims
    if image.codes is None:
        order = list(range(image.spatial_dims))
        if flat and image.plane is not None:
            order.insert(0, order.pop(image.plane))
        return tuple(order), (False,) * len(order)
    if card.orientation is None:
        wanted = list(orientation.DISPLAY)
        if flat and image.plane is not None:
            wanted.insert(0, wanted.pop(image.plane))
        return orientation.reorientation(image.codes, "".join(wanted))
    turn = orientation.reorientation(image.codes, card.orientation)
    if flat and image.plane is not None and image.to_display[0].index(turn[0][0]) != image.plane:
        fixed = image.to_display[0].index(turn[0][0])
        raise UserError(
            f"{card.name} sees slices across axis {fixed} of {image.name} (its card says {card.orientation}), not across "
            f"axis {image.plane}; leave axis out."
        )
    return turn
