"""The model grid: what the network sees of the resampled image, cropped there, and with what is put around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from napari_segxai.core.errors import UserError, number
from napari_segxai.models.preprocessing.spatial import Placement, resampled
from napari_segxai.models.preprocessing.stepped import stepped

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.models.card import ModelCard

LARGEST = 2**31
"""Numbers of an input: 8 GB."""

KEPT = 8
"""Boxes of one image that are remembered: of several models, or of slices."""

Box = tuple[tuple[int, int], ...]

_known: WeakKeyDictionary[Image, list[tuple[ModelCard, int | None, Box]]] = WeakKeyDictionary()


def place(
    card: ModelCard,
    image: Image,
    slice: int | None = None,
    multiples: Sequence[int] | None = None,
    *,
    read: bool = True,
) -> Placement:
    """Work out how `image` is brought to the grid of the model that `card` describes.

    Parameters
    ----------
    slice
        For a 2D model on a volume: which slice, counted as napari displays the volume (inferior slices
        of a displayed axial stack have the higher index).
    multiples
        Of what the size has to be a multiple, per axis; what the card says by default.
    read
        Whether the image may be read, where the card crops it to what is not 0; else it is taken whole.

    Raises
    ------
    UserError
        If the model cannot take an image of this kind.
    """
    found, grid = resampled(card, image, slice, read=read), card.grid
    size = found.resampled_shape
    _check_size(card, image, size)
    box: Box = tuple((0, n) for n in size)
    if grid.crop and grid.crop_on != "image" and read:
        box = _box(card, image, found)
    ends = grid.frame(box, multiples or (grid.multiple,) * len(size))
    shape, start = tuple(b - a for a, b in ends), tuple(a for a, _ in ends)
    _check_size(card, image, shape)
    return replace(found, shape=shape, start=start if any(start) else None)


def _check_size(card: ModelCard, image: Image, shape: Sequence[int]) -> None:
    numbers_asked = math.prod(shape) * len(card.channels)
    if numbers_asked > LARGEST:
        raise UserError(
            f"{card.name} would need {image.name} on a grid of {' x '.join(map(number, shape))}, which is too large for "
            f"any machine ({number(numbers_asked)} numbers, at most {LARGEST} are taken); see grid in its card."
        )


def _box(card: ModelCard, image: Image, placement: Placement) -> Box:
    """Return the box of what the resampled image holds, found once per image, card and slice; all of it where it holds nothing."""
    known = _known.setdefault(image, [])
    for other, slice, box in known:
        if slice == placement.slice and other == card:
            return box
    raw = card if card.grid.crop_on == "network" else card.model_copy(update={"intensity": ()})
    box = _content(stepped(raw, image, placement).tensor[0], card.grid.crop == "positive")
    known.append((card, placement.slice, box))
    del known[:-KEPT]
    return box


def _content(values: Tensor, positive: bool) -> Box:
    """Return the box of the cells of which any channel, of (channels, *cells), is above 0, or not 0."""
    here = (values > 0 if positive else values != 0).any(0)
    if not here.any():
        return tuple((0, n) for n in here.shape)
    out = []
    for axis in range(here.ndim):
        others = [k for k in range(here.ndim) if k != axis]
        along = torch.nonzero(here.any(others) if others else here)
        out.append((int(along[0]), int(along[-1]) + 1))
    return tuple(out)
