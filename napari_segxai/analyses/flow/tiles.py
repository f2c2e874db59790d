"""Tiles of an information flow as they are looked at: upright, and cut where the viewer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_segxai.core import orientation
from napari_segxai.figures.colormaps import SIGNED

if TYPE_CHECKING:
    from napari_segxai.analyses.flow.result import Flow, Tile
    from napari_segxai.models.introspection.layers import NetworkLayer

GROUND = 0.1
"""Grey below the colours, as below a layer in the viewer."""


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
    return cut(predicted(flow, label), position)


def predicted(flow: Flow, label: str) -> np.ndarray:
    """Return where the label is predicted, upright."""
    return upright(flow, label, flow.questions[label].predicted.cpu().numpy())


def cut(array: np.ndarray, position: float, axis: int = 0) -> np.ndarray:
    """Return the slice of a volume at a position from 0 to 1 along a displayed axis; an image as it is."""
    if array.ndim == 2:
        return array
    n = array.shape[axis]
    return array.take(min(max(int(position * n), 0), n - 1), axis)


def best_position(flow: Flow) -> float:
    """Return the position of the slice in which the labels together are largest, in [0, 1]."""
    total: np.ndarray | None = None
    for label in flow.labels:
        volume = predicted(flow, label)
        if volume.ndim == 2:
            return 0.5
        sizes = volume.sum((1, 2))
        total = sizes if total is None else total + np.minimum(sizes, sizes.max())
    return (int(total.argmax()) + 0.5) / len(total)


def extent(flow: Flow, label: str, axis: int = 0) -> tuple[float, float]:
    """Return height and width of a tile in the image's units, of a volume cut along a displayed axis."""
    image = flow.image
    order = image.to_display[0]
    sizes = [image.spatial_shape[k] * image.spacing[k] for k in order]
    if len(sizes) == 3:
        place = flow.questions[label].prepared.placement
        del sizes[axis if place.slice is None else _slice_axis(flow, label)]
    return sizes[0], sizes[1]


def limit(flow: Flow, tile: Tile, *, common: bool) -> float:
    """Return the value at which the colour scale of a tile ends: its own largest, or that of all tiles."""
    tiles = flow.tiles.values() if common else [tile]
    return max(max(abs(t.maximum), abs(t.minimum)) for t in tiles) or 1.0


def colors(values: np.ndarray, end: float) -> np.ndarray:
    """Return signed values as RGB bytes (*values, 3): blue at -end and below, dark at 0, red at end and above."""
    steps = np.linspace(-1, 1, len(SIGNED["colors"]))
    share = np.clip(np.nan_to_num(values) / end, -1, 1)
    opaque = SIGNED["colors"][:, 3:] * SIGNED["colors"][:, :3] + (1 - SIGNED["colors"][:, 3:]) * GROUND
    rgb = np.stack([np.interp(share, steps, opaque[:, k]) for k in range(3)], -1)
    return np.rint(255 * rgb).astype(np.uint8)


def edge(mask: np.ndarray, cells: int) -> np.ndarray:
    """Return the rim of a boolean (rows, columns), thinned out to at most so many cells along each axis."""
    step = max(1, -(-max(mask.shape) // cells))
    small = mask[step // 2 :: step, step // 2 :: step]
    around = np.pad(small, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return small & ~inner


def facing(layers: Sequence[NetworkLayer]) -> list[tuple[list[NetworkLayer], list[NetworkLayer]]]:
    """Return one row per resolution, the finest first: layers up to the bottleneck, and those after it.

    What is encoded and decoded at the same resolution stands side by side.
    """
    sizes = sorted({layer.shape[1:] for layer in layers}, key=lambda shape: -int(np.prod(shape)))
    rows = []
    for size in sizes:
        same = [layer for layer in layers if layer.shape[1:] == size]
        before = [layer for layer in same if layer.stage in ("encoder", "bottleneck")]
        rows.append((before, [layer for layer in same if layer not in before]))
    return rows
