"""Tiles of an information flow as they are looked at: upright, and cut where the viewer is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_segxai import orientation

if TYPE_CHECKING:
    from napari_segxai.flow import Flow, Tile


def upright(flow: Flow, label: str, values: np.ndarray) -> np.ndarray:
    """Turn an array of any resolution on the model grid to the axes that are shown, without padding.

    Parameters
    ----------
    values
        (*cells), which divide the model grid evenly.

    Returns
    -------
    ndarray
        (rows, columns) or (slices, rows, columns); one slice of a volume that a 2D model saw is 2D.
    """
    place = flow.questions[label].prepared.placement
    inner = tuple(
        slice(max(1, round(n * r / m)))
        for n, r, m in zip(values.shape, place.resampled_shape, place.shape, strict=True)
    )
    array = values[inner]
    if place.slice is None:
        array = orientation.apply(array, orientation.invert(place.turn))
        return np.ascontiguousarray(orientation.apply(array, flow.image.to_display))
    array = orientation.apply(array[None], orientation.invert(place.turn))
    array = orientation.apply(array, flow.image.to_display)
    return np.ascontiguousarray(array.squeeze(_slice_axis(flow, label)))


def _slice_axis(flow: Flow, label: str) -> int:
    """Return which displayed axis the slices of a 2D model lie on."""
    axis = flow.questions[label].prepared.placement.turn[0][0]
    return flow.image.to_display[0].index(axis)


def plane(flow: Flow, tile: Tile, position: float = 0.5) -> np.ndarray:
    """Return the tile's map as (rows, columns), of a volume the slice at a position from 0 to 1 of its depth."""
    return cut(upright(flow, tile.label, tile.map), position)


def outline(flow: Flow, label: str, position: float = 0.5) -> np.ndarray:
    """Return where the label is predicted as boolean (rows, columns), cut like `plane`."""
    predicted = flow.questions[label].predicted.cpu().numpy()
    return cut(upright(flow, label, predicted), position)


def cut(array: np.ndarray, position: float) -> np.ndarray:
    """Return the slice of a volume at a position from 0 to 1 of its depth; an image as it is."""
    if array.ndim == 2:
        return array
    return array[min(int(position * len(array)), len(array) - 1)]


def best_position(flow: Flow) -> float:
    """Return the position of the slice in which the labels together are largest, in [0, 1]."""
    total: np.ndarray | None = None
    for label in flow.labels:
        volume = upright(flow, label, flow.questions[label].predicted.cpu().numpy())
        if volume.ndim == 2:
            return 0.5
        sizes = volume.sum((1, 2))
        total = sizes if total is None else total + np.minimum(sizes, sizes.max())
    return (int(total.argmax()) + 0.5) / len(total)


def extent(flow: Flow, label: str) -> tuple[float, float]:
    """Return height and width of a tile in the image's units."""
    image = flow.image
    order = image.to_display[0]
    sizes = [image.spatial_shape[k] * image.spacing[k] for k in order]
    if len(sizes) == 3:
        place = flow.questions[label].prepared.placement
        del sizes[0 if place.slice is None else _slice_axis(flow, label)]
    return sizes[0], sizes[1]


def limit(flow: Flow, tile: Tile, *, common: bool) -> float:
    """Return the value at which the colour scale of a tile ends: its own largest, or that of all tiles."""
    tiles = flow.tiles.values() if common else [tile]
    return max(max(abs(t.maximum), abs(t.minimum)) for t in tiles) or 1.0
