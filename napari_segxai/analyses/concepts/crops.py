"""Reference crops: the part of an image in which a map of a survey is strongest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_segxai.analyses.concepts.result import SurveyMap
from napari_segxai.core import orientation
from napari_segxai.core.image import Image
from napari_segxai.figures.colormaps import SIGNED, UNSIGNED
from napari_segxai.figures.planes import gray, over

SHARE, ROOM = 0.25, 1.5
"""Least side of a crop, as a share of the shorter side of its plane; how much larger than the strongest part it is."""

OPACITY = 0.6
"""Of a map over its image, where it is highest: what lies below stays visible."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of an image, and of a map over it.

    Attributes
    ----------
    case, name : str
        Of the map.
    image : numpy.ndarray
        (rows, columns), gray, from 0 to 1, as napari shows it.
    values : numpy.ndarray
        (rows, columns): the map, raw.
    scale : tuple of float
        Ends of the colour scale, which is that of the whole map; the lower one is below 0 for a map with two signs.
    spacing : tuple of float
        Height and width of a pixel.
    place : tuple of int, optional
        Of a volume: the axis across which it is cut, and the slice, both as napari counts.
    """

    case: str
    name: str
    image: np.ndarray
    values: np.ndarray
    scale: tuple[float, float]
    spacing: tuple[float, float]
    place: tuple[int, int] | None

    def picture(self, *, with_map: bool = True) -> np.ndarray:
        """Return it as bytes (rows, columns, 3), with the map over it or without."""
        values = self.values if with_map else np.full_like(self.values, np.nan)
        colors = (SIGNED if self.scale[0] < 0 else UNSIGNED)["colors"]
        return over(self.image, values, self.scale, colors * (1, 1, 1, OPACITY))


def crop_of(one: SurveyMap, *, whole: bool = False) -> Crop:
    """Return the part in which a map is strongest; of a volume, of the plane in which it is.

    Parameters
    ----------
    whole
        The whole plane instead.

    Raises
    ------
    UserError
        If the image cannot be read.
    """
    image = one.image().frame(0)

    def upright(array: np.ndarray) -> np.ndarray:
        return np.asarray(orientation.apply(np.asarray(array), image.to_display))

    map = upright(one.array())
    known = np.nan_to_num(map)
    strength = np.abs(known)
    end = float(strength.max()) or 1.0
    scale = (-end if known.min() < 0 else 0.0, end)
    ground = [upright(channel) for channel in image.channels_first()]
    spacing = [float(image.spacing[axis]) for axis in image.to_display[0]]
    place = None
    if map.ndim == 3:
        place = _richest(strength)
        axis, index = place
        map, strength, *ground = (each.take(index, axis) for each in (map, strength, *ground))
        del spacing[axis]
    part = (slice(None), slice(None)) if whole else strongest(strength)
    height, width = spacing
    return Crop(one.case, one.name, gray(ground)[part], map[part].copy(), scale, (height, width), place)


def place_of(image: Image, at: Sequence[int]) -> tuple[int, int] | None:
    """Return the slice of a volume in which an index on its grid lies, as an axis and an index that napari shows; None of a flat image."""
    if len(at) != 3:
        return None
    order, flips = image.to_display
    size = image.spatial_shape[order[0]]
    return 0, size - 1 - at[order[0]] if flips[0] else at[order[0]]


def _richest(strength: np.ndarray) -> tuple[int, int]:
    """Return where a volume is cut: the slice with the highest value, or the only one in which a 2D model was asked."""
    for axis in range(3):
        held = strength.max(tuple(k for k in range(3) if k != axis))
        if np.count_nonzero(held) == 1:
            return axis, int(held.argmax())
    return 0, int(strength.max((1, 2)).argmax())


def strongest(strength: np.ndarray) -> tuple[slice, slice]:
    """Return a square around the part of a map, (rows, columns), that is connected to its highest value and above half of it."""
    top = np.unravel_index(int(strength.argmax()), strength.shape)
    parts, _ = ndimage.label(strength >= strength[top] / 2)
    rows, columns = np.nonzero(parts == parts[top])
    extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1
    side = round(max(ROOM * extent, SHARE * min(strength.shape)))
    found = []
    for places, size in zip((rows, columns), strength.shape, strict=True):
        length = min(side, size)
        start = int(np.clip((int(places.min()) + int(places.max()) + 1 - length) // 2, 0, size - length))
        found.append(slice(start, start + length))
    return found[0], found[1]
