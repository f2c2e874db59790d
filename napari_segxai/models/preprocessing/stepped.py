"""An image's intensities behind their steps on the model grid: the steps run there, or before on the image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_segxai.core import orientation
from napari_segxai.core.errors import UserError
from napari_segxai.core.orientation import DISPLAY
from napari_segxai.models.preprocessing import intensity
from napari_segxai.models.preprocessing.box import content_box, turned_box
from napari_segxai.models.preprocessing.cells import cells_of, new_size, spacings
from napari_segxai.models.preprocessing.resample import (
    bicubic,
    coarse_axis,
    cubic,
    resize,
    resize_apart,
    resize_centers,
)
from napari_segxai.models.preprocessing.spatial import Placement, turn_of

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard


@dataclass(frozen=True, eq=False)
class Stepped:
    """Intensities behind their steps, on the model grid without padding.

    Attributes
    ----------
    tensor
        (1, channels, *resampled), float32.
    steps
        What was fitted.
    constant
        The value that all pixels have; None where they differ.
    notes
        What was done on the way.
    """

    tensor: Tensor
    steps: tuple[intensity.Step, ...]
    constant: float | None
    notes: tuple[str, ...]


_last: WeakKeyDictionary[Image, tuple[ModelCard, Stepped]] = WeakKeyDictionary()
"""Volumes of which a 2D model gets slice after slice; they go with their images."""


def stepped(card: ModelCard, image: Image, placement: Placement) -> Stepped:
    """Return the intensities of an image, or of the slice that is placed.

    Raises
    ------
    UserError
        If nothing of it is finite.
    """
    if card.intensity_on == "grid":
        with np.errstate(over="ignore"):  # what is too large for float32 counts as infinite
            # A copy, so that a network that changes its input in place leaves the image as it is.
            array = np.array(placement.turned(image.channels_first()), dtype=np.float32, order="C")
        array, notes = finite(array, image.name)
        if card.grid.antialias and card.grid.interpolation in ("nearest", "linear"):
            raw = placement.to_grid(array)
        else:
            inner = torch.from_numpy(np.ascontiguousarray(placement.cropped(array)))[None]
            raw = _resampled(card, inner, placement)
        constant = float(raw.flatten()[0]) if raw.amin() == raw.amax() else None
        tensor, steps = intensity.fit(card.intensity, raw, card.channels)
        return Stepped(tensor, steps, constant, notes)
    if placement.slice is None or card.intensity_on == "image":
        turned = placement.turned(image.channels_first())
        return _before_grid(card, image, turned, placement)
    known = _last.get(image)
    whole = known[1] if known is not None and known[0] == card else _volume(card, image)
    _last[image] = card, whole
    # A slice outside of the box is nothing that the network was made for: it gets one that holds nothing.
    tensor = torch.zeros_like(whole.tensor[:, :, 0])
    if placement.seen:
        tensor = whole.tensor[:, :, placement.slice - placement.first_slice].clone()
    return replace(whole, tensor=tensor)


def _volume(card: ModelCard, image: Image) -> Stepped:
    """Return the whole volume of which a 2D model gets slices."""
    turn = turn_of(card, image)
    turned = orientation.apply(image.channels_first(), turn)
    kind = card.grid.crop
    box = turned_box(content_box(image, kind), image.spatial_shape, turn) if kind else None
    shape = turned.shape[1:] if box is None else tuple(stop - start for start, stop in box)
    resampled, apart, cells = shape, None, None
    if (size := card.grid.fixed_size(shape[1:])) is not None:
        resampled = (shape[0], *size)
    elif card.grid.spacing is not None:
        here, there = spacings(card, image, turn)
        if card.grid.align == "centers":
            cells = cells_of(shape, here, there)
            resampled = cells.shape
        else:
            planes = list(zip(shape, here, there, strict=True))[1:]
            resampled = (shape[0], *(new_size(*each, card) for each in planes))
        apart = coarse_axis(here, there) if card.grid.coarse_axis != "together" else None
    whole = Placement(
        image.spatial_shape,
        turn,
        None,
        resampled,
        resampled,
        True,
        box,
        apart=(apart, None),
        steps=None if cells is None else cells.steps,
        first=None if cells is None else cells.first,
    )
    return _before_grid(card, image, turned, whole)


def has_colors(array: np.ndarray) -> bool:
    """Tell whether the channels (channels, *spatial) of what should be gray differ."""
    return any(not np.array_equal(array[0], one, equal_nan=array.dtype.kind == "f") for one in array[1:])


def _before_grid(card: ModelCard, image: Image, turned: np.ndarray, placement: Placement) -> Stepped:
    array, notes = finite(_as_read(card, turned), image.name)
    array = placement.cropped(array)
    flat = array.ndim == 3
    if flat:  # as a volume of one slice, in which no hole is closed
        array = array[:, None]
    constant = float(array.flat[0]) if (array == array.flat[0]).all() else None
    tensor, steps = intensity.fit(card.intensity, torch.from_numpy(array)[None], card.channels)
    if flat:
        tensor = tensor[:, :, 0]
    if card.spatial_dims == 2:
        steps = tuple(_without_depth(step) for step in steps)
    return Stepped(_resampled(card, tensor, placement), steps, constant, notes)


def _without_depth(step: intensity.Step) -> intensity.Step:
    """Return a step of volumes for values of 2D inputs."""
    return lambda x: step(x[:, :, None])[:, :, 0]


def _resampled(card: ModelCard, tensor: Tensor, placement: Placement) -> Tensor:
    """Resample intensities (1, channels, *spatial) as the card says."""
    way, grid = card.grid.interpolation, card.grid
    shape, apart = placement.resampled_shape, placement.apart[0]
    if placement.steps is not None:
        first = placement.first_cell
        return resize_centers(tensor, shape, placement.steps, first, linear=way == "linear").contiguous()
    if way == "cubic":
        along: Literal["nearest", "linear"] = "linear" if grid.coarse_axis == "linear" else "nearest"
        return torch.from_numpy(cubic(tensor[0].numpy(), shape, apart, along))[None]
    if way == "bicubic":
        if tensor.ndim == 5:  # a volume of which a 2D model gets slices
            return bicubic(tensor[0].movedim(1, 0), shape[1:]).movedim(0, 1)[None]
        return bicubic(tensor, shape)
    if way == "area":
        return F.interpolate(tensor, shape, mode="area")
    if apart is not None:
        return resize_apart(
            tensor, shape, apart, nearest=grid.coarse_axis == "nearest", linear=way == "linear"
        )
    return resize(tensor, shape, linear=way == "linear").contiguous()


def finite(array: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Replace, in place, what is not finite by the smallest finite value; return the array and a note of it.

    Raises
    ------
    UserError
        If nothing is finite.
    """
    good = np.isfinite(array)
    if good.all():
        return array, ()
    if not good.any():
        raise UserError(f"{name} holds no finite value; there is nothing to segment.")
    bad, low = int(good.size - good.sum()), array[good].min()
    array[~good] = low
    return array, (f"{bad} values that are not finite (NaN or infinity) were replaced by {low:g}.",)


def _as_read(card: ModelCard, turned: np.ndarray) -> np.ndarray:
    """Return a float32 copy that lies in memory as a file that is read without turning: sums depend on it in their last digits."""
    codes = card.orientation or "".join(DISPLAY)
    ranks = {letter: rank for rank, group in enumerate(("kSI", "jAP", "iLR")) for letter in group}
    letters = codes[len(codes) - (turned.ndim - 1) :]
    order = sorted(range(len(letters)), key=lambda k: ranks[letters[k]])
    with np.errstate(over="ignore"):  # what is too large for float32 counts as infinite
        read = np.array(turned.transpose(0, *(1 + k for k in order)), dtype=np.float32, order="C")
    return read.transpose(0, *(1 + order.index(k) for k in range(len(order))))
