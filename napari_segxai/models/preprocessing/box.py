"""The box of what an image holds: the pixels of which any channel is not 0, or above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from napari_segxai.core.image import Image
    from napari_segxai.core.orientation import Reorientation

Box = tuple[tuple[int, int], ...]
"""(start, stop) per axis."""

Of = Literal["nonzero", "positive"]

_known: WeakKeyDictionary[Image, dict[Of, Box]] = WeakKeyDictionary()


def content_box(image: Image, of: Of) -> Box:
    """Return the box along the image's own spatial axes; the whole image where it holds no such pixel.

    Found once per image, whose values are read for it. Holes do not count: they change no box.
    """
    found = _known.setdefault(image, {})
    if of not in found:
        found[of] = _box(image, of)
    return found[of]


def _box(image: Image, of: Of) -> Box:
    n, found = image.spatial_dims, None
    for channel in image.channels_first():
        here = channel != 0 if of == "nonzero" else channel > 0
        along = [here.any(tuple(axis for axis in range(n) if axis != k)) for k in range(n)]
        found = along if found is None else [a | b for a, b in zip(found, along, strict=True)]
    assert found is not None, "an image has a channel"
    if not found[0].any():
        return tuple((0, size) for size in image.spatial_shape)
    return tuple((int(places[0]), int(places[-1]) + 1) for places in map(np.flatnonzero, found))


def turned_box(box: Box, shape: tuple[int, ...], turn: Reorientation) -> Box:
    """Return a box along turned axes; `shape` is that of the image."""
    order, flips = turn
    return tuple(
        (shape[axis] - box[axis][1], shape[axis] - box[axis][0]) if flip else box[axis]
        for axis, flip in zip(order, flips, strict=True)
    )
